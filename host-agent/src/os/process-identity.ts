import { closeSync, readFileSync } from 'node:fs';
import { errnoOf } from '@offshoot/shared/errors.js';
import { SystemError, pidfdOpen, pollReadable } from './libc.js';

/** A process as it can be told from a later one with the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot at its start (proc_pid_stat(5)). */
  readonly startTime: string;
}

/** How long one wait occupies a thread of the pool, whose end this process has to wait for before it can exit. */
const POLL_SLICE_MS = 1000;

/** Start time of a process; undefined when there is none with this number, or its first thread is over (a zombie). */
export function startTimeOf(pid: number): string | undefined {
  const { state, startTime } = statOf(pid) ?? {};
  return state === 'Z' || state === 'X' ? undefined : startTime;
}

/** Undefined when there is no process with this number, nor its remains. */
function statOf(
  pid: number,
): { readonly state: string | undefined; readonly startTime: string | undefined } | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return undefined;
    throw error;
  }
  // Field 2 is the program's name in brackets and may contain anything: count from the last bracket, field 3 comes next.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0], startTime: fields[22 - 3] };
}

export const isAlive = ({ pid, startTime }: ProcessIdentity): boolean => startTimeOf(pid) === startTime;

/**
 * Settles when the process, a child or not, has ended with all its threads. The first one may be over (a zombie, for
 * `startTimeOf` no process) while others of a killed VMM still hold what it had open: only the kernel's word counts.
 */
export async function processEnded(identity: ProcessIdentity): Promise<void> {
  let descriptor: number;
  try {
    descriptor = pidfdOpen(identity.pid);
  } catch (error) {
    if (error instanceof SystemError && error.code === 'ESRCH') return;
    throw error;
  }
  try {
    // Looked at with the descriptor open: from here on the number cannot come to mean another process unnoticed.
    if (statOf(identity.pid)?.startTime !== identity.startTime) return;
    let ended = false;
    while (!ended) ended = await pollReadable(descriptor, POLL_SLICE_MS);
  } finally {
    closeSync(descriptor);
  }
}

/** Kills it, unless it is gone already. Returns before it has ended: see {@link processEnded}. */
export function killProcess(identity: ProcessIdentity): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

/** Kills it, unless it is gone already, and waits until it is. */
export async function endProcess(identity: ProcessIdentity): Promise<void> {
  killProcess(identity);
  await processEnded(identity);
}
