import { open, type FileHandle } from 'node:fs/promises';
import { extents } from '../os/sparse-copy.js';

/** Clusters read at a time. */
export const MOST_NEIGHBOURS = 16;

/**
 * Numbers of the clusters in which a file differs from another one that it began as, in order. Holes are read as the zeros they
 * stand for, and so is what lies behind the end of the shorter one.
 */
export async function changedClusters(
  base: string,
  changed: string,
  clusterBytes: number,
  signal?: AbortSignal,
): Promise<number[]> {
  await using before = await open(base, 'r');
  await using after = await open(changed, 'r');
  const candidates = new Set<number>();
  for (const [{ fd }, path, { size }] of [
    [before, base, await before.stat()],
    [after, changed, await after.stat()],
  ] as const)
    for (const { start, end } of extents(fd, size, path))
      for (let cluster = Math.floor(start / clusterBytes); cluster * clusterBytes < end; cluster++)
        candidates.add(cluster);

  const found: number[] = [];
  const [ours, theirs] = [Buffer.alloc(MOST_NEIGHBOURS * clusterBytes), Buffer.alloc(MOST_NEIGHBOURS * clusterBytes)];
  for (const { first, count } of neighbours([...candidates].sort((a, b) => a - b))) {
    signal?.throwIfAborted();
    await readPadded(after, ours.subarray(0, count * clusterBytes), first * clusterBytes);
    await readPadded(before, theirs.subarray(0, count * clusterBytes), first * clusterBytes);
    for (let i = 0; i < count; i++) {
      const [start, end] = [i * clusterBytes, (i + 1) * clusterBytes];
      if (ours.compare(theirs, start, end, start, end) !== 0) found.push(first + i);
    }
  }
  return found;
}

/** Clusters in order, those that follow each other together, as many as are read at a time. */
function* neighbours(clusters: readonly number[]): Generator<{ first: number; count: number }> {
  for (let i = 0; i < clusters.length;) {
    const first = clusters[i] ?? 0;
    let count = 1;
    while (count < MOST_NEIGHBOURS && clusters[i + count] === first + count) count += 1;
    yield { first, count };
    i += count;
  }
}

/** Fills a buffer from there on; what lies behind the end of the file is zeros. */
export async function readPadded(file: FileHandle, into: Buffer, offset: number): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, into.length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  into.fill(0, done);
}
