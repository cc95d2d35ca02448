import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** How much of the end is quoted. */
const TAIL_BYTES = 4096;

/** What a VMM wrote to its own log since `from`, at most the last 4 KiB; empty when there is no log. */
export function logTail(path: string, from: number): string {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return ''; // the folder was removed together with its VM
  }
  try {
    const { size } = fstatSync(fd);
    const start = Math.max(from, size - TAIL_BYTES);
    const bytes = Buffer.alloc(Math.max(0, size - start));
    return bytes
      .subarray(0, readSync(fd, bytes, 0, bytes.length, start))
      .toString('utf8')
      .trim();
  } finally {
    closeSync(fd);
  }
}
