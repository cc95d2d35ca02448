import { readdir, readlink } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf } from '@offshoot/shared/errors.js';
import type { OrphanProcesses } from '../ports/orphan-processes.js';

/** A killed process is gone within this; only its memory has to be given back. */
const GONE_WITHIN_MS = 5000;
/** Nothing tells the end of a process that is not a child; this is how often it is looked for. */
const LOOK_EVERY_MS = 5;

/** Every VMM works in its instance's folder, which is how one is found that no record names. */
export class ProcOrphans implements OrphanProcesses {
  async endProcessesOf(directory: string): Promise<void> {
    const pids = await processesIn(directory);
    for (const pid of pids) signalIfThere(pid, 'SIGKILL');
    const deadline = performance.now() + GONE_WITHIN_MS;
    while ((await processesIn(directory)).length > 0 && performance.now() < deadline) await delay(LOOK_EVERY_MS);
  }
}

/** Processes that work in a folder, or did before it was removed. */
export async function processesIn(directory: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      try {
        const folder = await readlink(`/proc/${pid}/cwd`);
        return folder === directory || folder === `${directory} (deleted)` ? Number(pid) : undefined;
      } catch {
        return undefined; // gone meanwhile, or another user's
      }
    }),
  );
  return found.filter((pid) => pid !== undefined);
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
