import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { messageOf } from '@offshoot/shared/errors.js';
import { ToolFailure, streamTool } from '../tool.js';
import { refused } from './image-refused.js';
import type { Readable } from 'node:stream';

export type Compression = 'none' | 'gzip' | 'zstd' | 'xz';

const MAGIC: Readonly<Record<Exclude<Compression, 'none'>, Buffer>> = {
  gzip: Buffer.from('1f8b', 'hex'),
  zstd: Buffer.from('28b52ffd', 'hex'),
  xz: Buffer.from('fd377a585a00', 'hex'),
};

/** By the first six bytes. */
export function compressionOf(beginning: Buffer): Compression {
  for (const name of ['gzip', 'zstd', 'xz'] as const)
    if (beginning.subarray(0, MAGIC[name].length).equals(MAGIC[name])) return name;
  return 'none';
}

/**
 * What was compressed. Node 20 has no zstd, and none has xz: those by their programs.
 * @throws InvalidInput IMAGE_LAYOUT_INVALID for what is damaged or cut short
 */
export async function* decompress(
  input: Readable,
  compression: Compression,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  try {
    if (compression === 'none') yield* input as AsyncIterable<Buffer>;
    // Its errors, and the input's, are those of the stream that is read.
    else if (compression === 'gzip') yield* pipeline(input, createGunzip(), () => undefined) as AsyncIterable<Buffer>;
    else yield* streamTool(compression, ['-d', '-q', '-c'], { input, signal });
  } catch (error) {
    const isDamaged =
      error instanceof ToolFailure ||
      (error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('Z_'));
    if (!isDamaged) throw error;
    throw refused(
      'IMAGE_LAYOUT_INVALID',
      `what is packed with ${compression} is damaged: ${messageOf(error)}`,
      {},
      error,
    );
  } finally {
    input.destroy();
  }
}
