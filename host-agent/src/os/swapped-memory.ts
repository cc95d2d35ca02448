import { readFile } from 'node:fs/promises';
import { processInaccessible } from './file-mappings.js';

/** Bytes of a process's anonymous memory that are swapped out (VmSwap of proc_pid_status(5)). @throws Unreachable when it is gone */
export async function swappedBytes(pid: number): Promise<number> {
  let status: string;
  try {
    status = await readFile(`/proc/${String(pid)}/status`, 'latin1');
  } catch (error) {
    throw processInaccessible(pid, 'status', error);
  }
  return Number(/^VmSwap:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}
