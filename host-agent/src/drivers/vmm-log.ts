import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { MachineSpec } from '../ports/driver.js';

type LogDirectory = Pick<MachineSpec, 'logDirectory'>;

/** What a VMM says itself. */
export const vmmLog = ({ logDirectory }: LogDirectory): string => join(logDirectory, 'vmm.log');

/** The guest's serial console. */
export const consoleLog = ({ logDirectory }: LogDirectory): string => join(logDirectory, 'console.log');

/** A log that has become so long is put aside, in the place of the one put aside before. */
export const ROTATE_AT_BYTES = 16 * 2 ** 20;

/** How much of the end is quoted. */
const TAIL_BYTES = 4096;

/** Opens a log to be added to. Made here, not by a VMM, whose mode would depend on the daemon's umask. The caller closes it. */
export const openLog = (path: string): number =>
  openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o640);

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
