import { existsSync, readdirSync } from 'node:fs';
import { setPriority } from 'node:os';

/** A ninth of what the others get where all want the processor (sched(7): each step of niceness is a factor of about 1.25). */
const NICENESS = 10;

/**
 * Leaves the processor to others first, for a guest that is never idle: where one emulated processor has it and the daemon, it
 * would get most of the time that everything else waits for. Threads that are started later have it from their parents.
 */
export function lowerPriority(vmmPid: number): void {
  for (const thread of readdirSync(`/proc/${String(vmmPid)}/task`))
    try {
      setPriority(Number(thread), NICENESS);
    } catch (error) {
      // It has ended since.
      if (existsSync(`/proc/${String(vmmPid)}/task/${thread}`)) throw error;
    }
}
