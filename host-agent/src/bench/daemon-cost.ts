import { readFileSync } from 'node:fs';

/** Clock ticks a second of the times in /proc/PID/stat (USER_HZ, 100 on every Linux that runs here: proc_pid_stat(5)). */
const TICKS_PER_SECOND = 100;

/** Processor time a process has used so far, its own and the kernel's for it, in milliseconds. */
export function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
  // Field 2 is the program's name in brackets and may contain anything: field 3 comes after the last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[14 - 3]) + Number(fields[15 - 3])) / TICKS_PER_SECOND) * 1000;
}

/** Resident memory of a process, in MiB. */
export function residentMib(pid: number): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'latin1');
  return Math.round(Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 102.4) / 10;
}
