import { open, type FileHandle } from 'node:fs/promises';
import type { DiskFormat } from '../domain/storage-name.js';
import { MOST_NEIGHBOURS, readPadded } from './changed-clusters.js';
import { BACKING_FORMAT_EXTENSION, CLUSTER_BITS, CLUSTER_BYTES, HEADER_BYTES, MAGIC } from './qcow2-header.js';

const ENTRIES_PER_CLUSTER = CLUSTER_BYTES / 8;
/** Guest bytes for which one entry of the level 1 table stands: a level 2 table, each of whose entries is for a cluster. */
const L1_ENTRY_BYTES = ENTRIES_PER_CLUSTER * CLUSTER_BYTES;
/** Clusters for which one refcount block counts: its counts have 16 bits. */
const COUNTS_PER_CLUSTER = CLUSTER_BYTES / 2;
const ZEROS = Buffer.alloc(MOST_NEIGHBOURS * CLUSTER_BYTES);
/** In a table's entry: what it leads to is in this file once, and may be written in place. */
const COPIED = 1n << 63n;
/** In a level 2 table's entry: the cluster reads as zeros, whatever lies below. */
const ZERO = 1n;
/** Bytes that copying in the background has not written through to the disk, at most. */
const MOST_UNWRITTEN_BYTES = 8 * 2 ** 20;

export interface Overlay {
  /** Size the guest sees; where it is larger than the backing file, the rest reads as zeros. */
  readonly virtualBytes: number;
  /** Absolute, or a name in the disk's folder. */
  readonly backing: string;
  readonly backingFormat: DiskFormat;
  /** Clusters in which it differs from the backing file; none when left out. */
  readonly content?: OverlayContent;
}

export interface OverlayContent {
  /** Numbers of the clusters the overlay has itself, in order. */
  readonly clusters: readonly number[];
  /** Where the bytes of the nth of these are; undefined for one that reads as zeros and takes no room. */
  place(n: number): ClusterPlace | undefined;
  /** Awaited before each piece of at most 1 MiB is copied, where that is to give way to others. */
  readonly turn?: () => Promise<void>;
}

export interface ClusterPlace {
  readonly file: FileHandle;
  /** In bytes; what lies behind the end of the file is zeros. */
  readonly offset: number;
}

/** Clusters of a file that holds the whole disk as raw bytes. */
export const rawContent = (file: FileHandle, clusters: readonly number[]): OverlayContent => ({
  clusters,
  place: (n) => ({ file, offset: (clusters[n] ?? 0) * CLUSTER_BYTES }),
});

/**
 * Makes a disk that stands on another one. Through to the platter: the guest may soon have everything it has flushed behind
 * it. References are counted at once, not lazily: a disk would need a repair after a kill.
 *
 * The file has, in this order: header, refcount table (one cluster, which counts for 16 TiB), refcount blocks, level 1 table,
 * level 2 tables, the content.
 */
export async function createOverlay(path: string, overlay: Overlay, signal?: AbortSignal): Promise<void> {
  const clusters = overlay.content?.clusters ?? [];
  const pieces = overlay.content === undefined ? [] : piecesOf(overlay.content);
  const dataClusters = pieces.reduce((sum, { count }) => sum + count, 0);
  const l1Entries = Math.ceil(overlay.virtualBytes / L1_ENTRY_BYTES);
  const l1Clusters = Math.max(1, Math.ceil(l1Entries / ENTRIES_PER_CLUSTER));
  const tables = [...new Set(clusters.map(tableOf))];
  const others = 2 + l1Clusters + tables.length + dataClusters;
  const refcountBlocks = blocksFor(others);
  const l1Table = 2 + refcountBlocks;
  const firstL2 = l1Table + l1Clusters;
  const firstData = firstL2 + tables.length;
  const total = firstData + dataClusters;

  const refcountTable = Buffer.alloc(8 * refcountBlocks);
  for (let i = 0; i < refcountBlocks; i++) refcountTable.writeBigUInt64BE(offsetOf(2 + i), 8 * i);
  const refcounts = Buffer.alloc(2 * total);
  for (let cluster = 0; cluster < total; cluster++) refcounts.writeUInt16BE(1, 2 * cluster);
  const l1 = Buffer.alloc(8 * l1Entries);
  tables.forEach((table, i) => l1.writeBigUInt64BE(offsetOf(firstL2 + i) | COPIED, 8 * table));
  const l2 = Buffer.alloc(tables.length * CLUSTER_BYTES);
  const placeOf = new Map(tables.map((table, i) => [table, i]));
  const setEntry = (n: number, value: bigint): void => {
    const cluster = clusters[n] ?? 0;
    const entry = (placeOf.get(tableOf(cluster)) ?? 0) * ENTRIES_PER_CLUSTER + (cluster % ENTRIES_PER_CLUSTER);
    l2.writeBigUInt64BE(value, 8 * entry);
  };
  for (let n = 0; n < clusters.length; n++) setEntry(n, ZERO);
  let next = firstData;
  for (const { first, count } of pieces) for (let i = 0; i < count; i++) setEntry(first + i, offsetOf(next++) | COPIED);

  await using file = await open(path, 'wx', 0o600);
  await file.truncate(total * CLUSTER_BYTES); // what is not written is zeros
  await file.write(headerOf(overlay, l1Entries, l1Table), 0, undefined, 0);
  await file.write(refcountTable, 0, undefined, CLUSTER_BYTES);
  await file.write(refcounts, 0, undefined, 2 * CLUSTER_BYTES);
  if (overlay.content !== undefined) {
    await file.write(l1, 0, undefined, l1Table * CLUSTER_BYTES);
    await file.write(l2, 0, undefined, firstL2 * CLUSTER_BYTES);
    await copyPieces(pieces, file, firstData, overlay.content.turn, signal);
  }
  await file.datasync();
}

function headerOf({ virtualBytes, backing, backingFormat }: Overlay, l1Entries: number, l1Table: number): Buffer {
  const format = Buffer.from(backingFormat);
  const name = Buffer.from(backing);
  const extension = Buffer.alloc(8 + 8 + 8); // type and length; the format, padded; the end of extensions
  extension.writeUInt32BE(BACKING_FORMAT_EXTENSION, 0);
  extension.writeUInt32BE(format.length, 4);
  format.copy(extension, 8);

  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(MAGIC, 0);
  header.writeUInt32BE(3, 4); // version
  header.writeBigUInt64BE(BigInt(HEADER_BYTES + extension.length), 8); // where the backing file's name is
  header.writeUInt32BE(name.length, 16);
  header.writeUInt32BE(CLUSTER_BITS, 20);
  header.writeBigUInt64BE(BigInt(virtualBytes), 24);
  header.writeUInt32BE(l1Entries, 36);
  header.writeBigUInt64BE(offsetOf(l1Table), 40);
  header.writeBigUInt64BE(offsetOf(1), 48); // refcount table
  header.writeUInt32BE(1, 56); // clusters of the refcount table
  header.writeUInt32BE(4, 96); // refcounts of 2^4 bits
  header.writeUInt32BE(HEADER_BYTES, 100);
  return Buffer.concat([header, extension, name]);
}

/** Neighbours in a file's bytes, as many as are copied at once: `count` of the content's clusters from its `first` one on. */
interface Piece extends ClusterPlace {
  readonly first: number;
  readonly count: number;
}

function piecesOf(content: OverlayContent): readonly Piece[] {
  const pieces: Piece[] = [];
  for (let first = 0; first < content.clusters.length;) {
    const place = content.place(first);
    let count = 1;
    if (place !== undefined) {
      const follows = (next: ClusterPlace | undefined): boolean =>
        next?.file === place.file && next.offset === place.offset + count * CLUSTER_BYTES;
      while (
        count < MOST_NEIGHBOURS &&
        first + count < content.clusters.length &&
        follows(content.place(first + count))
      )
        count += 1;
      pieces.push({ ...place, first, count });
    }
    first += count;
  }
  return pieces;
}

async function copyPieces(
  pieces: readonly Piece[],
  output: FileHandle,
  firstData: number,
  turn: OverlayContent['turn'],
  signal?: AbortSignal,
): Promise<void> {
  const buffer = Buffer.alloc(MOST_NEIGHBOURS * CLUSTER_BYTES);
  let [next, unwritten] = [firstData, 0];
  for (const { file, offset, count } of pieces) {
    await turn?.();
    signal?.throwIfAborted();
    const bytes = buffer.subarray(0, count * CLUSTER_BYTES);
    await readPadded(file, bytes, offset);
    if (!bytes.equals(ZEROS.subarray(0, bytes.length))) await writeAll(output, bytes, next * CLUSTER_BYTES);
    next += count;
    unwritten += count;
    // Who gives way does not leave all of it to the end either, when others that flush would have to wait for it.
    if (turn === undefined || unwritten * CLUSTER_BYTES < MOST_UNWRITTEN_BYTES) continue;
    await output.datasync();
    unwritten = 0;
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;)
    done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
}

/** Refcount blocks for so many clusters and for themselves. */
function blocksFor(others: number): number {
  let blocks = 1;
  while (blocks * COUNTS_PER_CLUSTER < others + blocks) blocks += 1;
  return blocks;
}

const tableOf = (cluster: number): number => Math.floor(cluster / ENTRIES_PER_CLUSTER);
const offsetOf = (cluster: number): bigint => BigInt(cluster) * BigInt(CLUSTER_BYTES);
