import { createHash } from 'node:crypto';
import { drain } from '../tar/drain.js';
import { readTar } from '../tar/read-tar.js';
import { assertDigest, openPart, readPart } from './blob.js';
import { compressionOf, decompress } from './compression.js';
import type { TarEntry } from '../tar/read-tar.js';
import type { FilePart } from './blob.js';
import type { SourceLayer } from './root-source.js';

/** A tar, compressed or not, in a file. @param diffId what the digest of it must be when it is unpacked */
export function layerOf(part: FilePart, { whiteouts, diffId }: { whiteouts: boolean; diffId?: string }): SourceLayer {
  return { whiteouts, entries: (onBytes, signal) => entriesOf(part, diffId, onBytes, signal) };
}

async function* entriesOf(
  part: FilePart,
  diffId: string | undefined,
  onBytes: (count: number) => void,
  signal: AbortSignal,
): AsyncGenerator<TarEntry, void, undefined> {
  const beginning = await readPart({ ...part, size: Math.min(part.size, 6) }, 6, 'the layer', signal);
  const hash = createHash('sha256');
  const bytes = tapped(decompress(openPart(part, signal), compressionOf(beginning), signal), (chunk) => {
    onBytes(chunk.length);
    hash.update(chunk);
  });
  try {
    yield* readTar(bytes);
    // Behind the end of the archive there may be more, which belongs to the digest.
    await drain(bytes);
    if (diffId !== undefined) assertDigest(`sha256:${hash.digest('hex')}`, diffId, 'a layer, unpacked,');
  } finally {
    await bytes.return();
  }
}

export async function* tapped(
  source: AsyncIterable<Buffer>,
  onChunk: (chunk: Buffer) => void,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of source) {
    onChunk(chunk);
    yield chunk;
  }
}
