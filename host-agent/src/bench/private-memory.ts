import { readFileSync } from 'node:fs';

/**
 * MiB of its guest's RAM that a VMM holds apart from its base: the pages a capture has to copy. `Anonymous` of the private
 * mapping of the memory file (proc_pid_smaps(5)); 0 for a VM booted here, whose mapping is shared.
 */
export const privateMemoryMib = (pid: number): number =>
  privateMibIn(readFileSync(`/proc/${String(pid)}/smaps`, 'latin1'));

/** The same, of the text of a process's smaps. */
export function privateMibIn(smaps: string): number {
  let kib = 0;
  let isMemory = false;
  for (const line of smaps.split('\n')) {
    // A mapping's first line has its addresses, rights and path; "(deleted)" once its last name is gone.
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isMemory = /\/memory(\.\S+)?( \(deleted\))?$/.test(line);
    else if (isMemory) kib += Number(/^Anonymous: +(\d+) kB$/.exec(line)?.[1] ?? 0);
  }
  return kib / 1024;
}
