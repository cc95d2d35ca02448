import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Corrupt, errnoOf } from '@offshoot/shared/errors.js';
import * as z from 'zod';
import type { VmmProcess } from '../../domain/instance.js';
import { endProcess, startTimeOf, type ProcessIdentity } from '../../os/process-identity.js';
import { processesIn } from '../../os/proc-orphans.js';
import type { MachineSpec } from '../../ports/driver.js';
import { promoteSockets, removeSockets, socketsOf, successorSocketsOf } from './vmm-sockets.js';

/**
 * One VMM takes another's place while the daemon may die at any moment. What decides is a note, `successor.json` beside the
 * sockets, that says "process A is succeeded by B":
 *
 * - Without it A is the VM. B has loaded, at most, and never run: it can be ended, and A continued.
 * - With it B is the VM, whether or not it was told to run yet, and A, which stands still, is ended. If B is gone, then so is
 *   the VM: it may have run and written to its disk, so that A must never run again. (A hand-over that is undone removes the
 *   note before it ends B.)
 *
 * The note stays true ever after, so it may stay until the VM ends: a record that still names A leads to B.
 */
const IDENTITY = z.object({ pid: z.int().positive(), startTime: z.string() });
const NOTE = z.object({ of: IDENTITY, successor: IDENTITY });

type Folders = Pick<MachineSpec, 'directory' | 'runDirectory'>;

const notePath = ({ runDirectory }: Pick<MachineSpec, 'runDirectory'>): string => join(runDirectory, 'successor.json');

/** Synchronous: the guest stands still meanwhile. Not made durable: no process outlives a power cut. */
export function noteSuccessor(spec: Folders, of: ProcessIdentity, successor: ProcessIdentity): void {
  const path = notePath(spec);
  const only = ({ pid, startTime }: ProcessIdentity): ProcessIdentity => ({ pid, startTime });
  writeFileSync(`${path}.tmp`, JSON.stringify({ of: only(of), successor: only(successor) }), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

export function forgetSuccessor(spec: Pick<MachineSpec, 'runDirectory'>): void {
  rmSync(notePath(spec), { force: true });
  rmSync(`${notePath(spec)}.tmp`, { force: true });
}

/** Removes everything VMMs leave behind beside their logs. */
export function removeTraces(spec: Pick<MachineSpec, 'runDirectory'>): void {
  removeSockets(socketsOf(spec));
  removeSockets(successorSocketsOf(spec));
  forgetSuccessor(spec);
}

/**
 * Finishes or undoes what a daemon before left half done, and waits until only one VMM is left.
 * @param recorded the VMM on record
 * @returns the VM's VMM, whose sockets have the usual names; it may be gone, and its guest may stand still
 */
export async function settleHandOver(recorded: VmmProcess, spec: Folders): Promise<VmmProcess> {
  const successor = successorOf(recorded, spec);
  if (successor !== undefined) {
    await endProcess(recorded);
    promoteSockets(spec);
    return { ...successor, privateMemory: true };
  }
  // Its sockets are made before it is started and outlive it: without them there is no need to look through all processes.
  const sockets = successorSocketsOf(spec);
  if (!existsSync(sockets.qmp) && !existsSync(sockets.channel)) return recorded;
  for (const pid of await processesIn(spec.directory)) {
    const startTime = startTimeOf(pid);
    if (pid !== recorded.pid && startTime !== undefined) await endProcess({ pid, startTime });
  }
  removeSockets(sockets);
  return recorded;
}

function successorOf(recorded: ProcessIdentity, spec: Folders): ProcessIdentity | undefined {
  const path = notePath(spec);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  let note: z.infer<typeof NOTE>;
  try {
    note = NOTE.parse(JSON.parse(text));
  } catch (error) {
    throw new Corrupt(`${path} is no note of a hand-over`, {
      reason: 'NOTE_MALFORMED',
      metadata: { path },
      cause: error,
    });
  }
  const { of, successor } = note;
  return of.pid === recorded.pid && of.startTime === recorded.startTime ? successor : undefined;
}
