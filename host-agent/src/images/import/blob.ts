import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { refused } from './image-refused.js';

/** A stretch of a file: all of it, or an entry of an archive. */
export interface FilePart {
  readonly path: string;
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
}

export const openPart = ({ path, offset, size }: FilePart, signal?: AbortSignal): Readable =>
  // A stream's range cannot be empty.
  size === 0
    ? Readable.from([])
    : createReadStream(path, {
        start: offset,
        end: offset + size - 1,
        highWaterMark: 2 ** 20,
        ...(signal && { signal }),
      });

/** Whole, for the small ones. @throws InvalidInput when it is larger than `limit` bytes */
export async function readPart(part: FilePart, limit: number, what: string, signal?: AbortSignal): Promise<Buffer> {
  if (part.size > limit)
    throw refused('IMAGE_LAYOUT_INVALID', `${what} has ${String(part.size)} bytes, more than ${String(limit)}`);
  return Buffer.concat((await openPart(part, signal).toArray()) as Buffer[]);
}

/** The only digest images are found with; OCI knows sha512, too, which nobody writes. */
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** @throws InvalidInput IMAGE_LAYOUT_INVALID */
export function parseDigest(text: string): string {
  if (DIGEST.test(text)) return text;
  throw refused('IMAGE_LAYOUT_INVALID', `${JSON.stringify(text.slice(0, 100))} is no digest (sha256:...)`);
}

/** @throws InvalidInput IMAGE_DIGEST_MISMATCH */
export function assertDigest(actual: string, expected: string, what: string): void {
  if (actual === expected) return;
  throw refused('IMAGE_DIGEST_MISMATCH', `${what} has the digest ${actual} instead of ${expected}`, {
    actual,
    expected,
  });
}

export const digestOf = (content: Buffer): string => `sha256:${createHash('sha256').update(content).digest('hex')}`;

export async function digestOfPart(part: FilePart, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of openPart(part, signal)) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}
