import { createHash, webcrypto } from 'node:crypto';
import { open } from 'node:fs/promises';
import { Corrupt } from '@offshoot/shared/errors.js';
import { extents } from './sparse-copy.js';

/** What one digest of the list covers. Hashed on libuv's threads, a chunk holds the main thread up for its copy alone: 1 ms. */
const CHUNK_BYTES = 4 * 1024 * 1024;

/**
 * Checksum of a whole file as hex: SHA-256 over the SHA-256 digests of its chunks of 4 MiB, the last one as long as it is.
 * A hole counts as the zeros it reads as, but chunks that are holes throughout are not read.
 */
export async function digestFile(path: string, signal?: AbortSignal): Promise<string> {
  await using file = await open(path, 'r');
  const { size } = await file.stat();
  const withData = new Set<number>();
  for (const { start, end } of extents(file.fd, size, path))
    for (let chunk = Math.floor(start / CHUNK_BYTES); chunk * CHUNK_BYTES < end; chunk++) withData.add(chunk);
  const whole = createHash('sha256');
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, size));
  const zeros = await digestOf(new Uint8Array(buffer.length));
  for (let chunk = 0; chunk * CHUNK_BYTES < size; chunk++) {
    signal?.throwIfAborted();
    const position = chunk * CHUNK_BYTES;
    const length = Math.min(CHUNK_BYTES, size - position);
    if (!withData.has(chunk)) {
      whole.update(length === buffer.length ? zeros : await digestOf(new Uint8Array(length)));
      continue;
    }
    const part = buffer.subarray(0, length);
    for (let done = 0; done < length;) {
      const { bytesRead } = await file.read(part, done, length - done, position + done);
      if (bytesRead === 0)
        throw new Corrupt(`${path} became shorter while it was read`, { reason: 'FILE_CHANGED', metadata: { path } });
      done += bytesRead;
    }
    whole.update(await digestOf(part));
  }
  return whole.digest('hex');
}

/** `subtle` works off the main thread, other than `createHash`. */
const digestOf = async (bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> =>
  new Uint8Array(await webcrypto.subtle.digest('SHA-256', bytes));
