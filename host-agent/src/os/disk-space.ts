import { statfs } from 'node:fs/promises';
import { Capacity, errnoOf } from '@offshoot/shared/errors.js';

/** Bytes that can still be written in the file system of `path` by anybody. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** @throws Capacity unless `needed` bytes are free at `path` */
export async function assertFreeBytes(path: string, needed: number, what: string): Promise<void> {
  const free = await freeBytes(path);
  if (free >= needed) return;
  throw new Capacity(
    `${what} needs ${mebibytes(needed)} free in ${path}, there are ${mebibytes(free)}: delete instances or use a larger disk`,
    { reason: 'DISK_FULL', metadata: { path, needed_bytes: String(needed), free_bytes: String(free) } },
  );
}

const mebibytes = (bytes: number): string => `${String(Math.ceil(bytes / 2 ** 20))} MiB`;

const FULL: readonly string[] = ['ENOSPC', 'EDQUOT', 'SQLITE_FULL'];

/** The error itself, or a Capacity error when it says that a disk is full, at whatever depth. */
export function asCapacityIfFull(error: unknown): unknown {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof Capacity) return error;
    const code = errnoOf(cause);
    if (code !== undefined && FULL.includes(code))
      return new Capacity(`the disk is full: ${cause.message}`, { reason: 'DISK_FULL', cause: error });
  }
  return error;
}
