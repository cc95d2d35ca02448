import { closeSync, renameSync, statSync } from 'node:fs';
import type { MachineSpec } from '../../ports/driver.js';
import { consoleLog, openLog } from '../vmm-log.js';
import { errnoOf } from '@offshoot/shared/errors.js';

/**
 * What a guest may write to its console, in the token bucket's terms: 16 MiB, once, and then 16 KiB in ten minutes, so that the
 * last words of a guest that has used up its share still fit in. Firecracker drops what is more.
 */
export const CONSOLE_LIMIT = { one_time_burst: 16 * 1024 * 1024, size: 16 * 1024, refill_time: 600_000 } as const;

/**
 * Makes room for the console of a new VMM: Firecracker writes its file from the beginning and does not cut it off, so what
 * the one before wrote is kept under another name, once.
 */
export function startConsoleLog(spec: Pick<MachineSpec, 'logDirectory'>): void {
  const path = consoleLog(spec);
  if (sizeOf(path) > 0) renameSync(path, `${path}.1`);
  closeSync(openLog(path));
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw error;
  }
}
