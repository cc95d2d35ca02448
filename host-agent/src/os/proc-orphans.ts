import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf } from '@offshoot/shared/errors.js';
import type { OrphanProcesses } from '../ports/orphan-processes.js';
import { belongsTo, processPlaces } from './process-places.js';

/** A killed process is gone within this; only its memory has to be given back. */
const GONE_WITHIN_MS = 5000;
/** Nothing tells the end of a process that is not a child; this is how often it is looked for. */
const LOOK_EVERY_MS = 5;

/** Every VMM works in its instance's folder, or in a jail named after it: so one is found that no record names. */
export class ProcOrphans implements OrphanProcesses {
  async endProcessesOf(directories: readonly string[]): Promise<void> {
    const pids = await processesInAny(directories);
    if (pids.length === 0) return;
    for (const pid of pids) signalIfThere(pid, 'SIGKILL');
    const deadline = performance.now() + GONE_WITHIN_MS;
    while ((await processesInAny(directories)).length > 0 && performance.now() < deadline) await delay(LOOK_EVERY_MS);
  }
}

/** Processes that belong to a folder; see {@link belongsTo}. */
export const processesIn = (directory: string): Promise<number[]> => processesInAny([directory]);

/** One look at all processes, however many the folders are. */
async function processesInAny(directories: readonly string[]): Promise<number[]> {
  return (await processPlaces()).filter(belongsTo(directories)).map(({ pid }) => pid);
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
