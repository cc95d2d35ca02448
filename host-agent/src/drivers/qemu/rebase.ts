import { closeSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { Conflict, InvalidState, Unreachable, messageOf } from '@offshoot/shared/errors.js';
import { processInaccessible } from '../../os/file-mappings.js';
import { takeDescriptor } from '../../os/libc.js';
import { endProcess, killProcess, type ProcessIdentity } from '../../os/process-identity.js';
import { hasPrivatePages } from '../../os/private-pages.js';
import type { CaptureOptions, CaptureResult, CaptureTarget, MachineSpec } from '../../ports/driver.js';
import { allEnded, atRest } from '../capture-parts.js';
import { withTimeLimit } from '../time-limit.js';
import { assertCapturable, continueAfter, finishCapture, type CaptureSource } from './capture.js';
import { successorArguments, tapOf } from './command-line.js';
import { forgetSuccessor, noteSuccessor } from './hand-over.js';
import { SAVE_COMMAND } from './installation.js';
import { loadState } from './load-state.js';
import { startQemu, type QemuProcess } from './qemu-process.js';
import { isRunning } from './run-state.js';
import { LOAD_LIMIT, START_LIMIT } from './time-limits.js';
import { promoteSockets, removeSockets, successorSocketsOf } from './vmm-sockets.js';

/** In this order; each is told before it is taken. */
export const REBASE_STEPS = ['start', 'pause', 'load', 'note', 'continue', 'hand over'] as const;
export type RebaseStep = (typeof REBASE_STEPS)[number];

/** `successor`: once it is there. */
export type OnRebaseStep = (step: RebaseStep, successor: QemuProcess | undefined) => Promise<void>;

export interface RebaseSource extends CaptureSource {
  readonly identity: ProcessIdentity;
  readonly spec: Omit<MachineSpec, 'nic'>;
}

export interface RebaseOptions extends CaptureOptions {
  readonly binary: string;
  /** For tests that make a step fail, which a rejection does, or never come to an end. */
  readonly onStep?: OnRebaseStep;
  /** The successor runs the VM from here on, and its sockets have the usual names. */
  readonly onReplaced: (successor: QemuProcess) => void;
}

/**
 * Captures a VM that was booted cold and lets it go on in another VMM, which maps the memory file privately: from then on the
 * file does not change. The successor is started while the source still runs, on the same disk (a VMM that waits for its
 * state opens it inactive, without locks) and the same TAP; then the source stops, saves and deactivates its disk, and the
 * successor loads and continues. Until then `cont` on the source undoes everything. On the TAP the waiting successor may take
 * one frame away from the source, which it delivers when it runs, and the stopped source may lose one.
 * @throws Unreachable with reason VMM_GONE when the successor is lost in the moment it is told to run: whether the guest
 *   ran, and wrote to its disk, nobody knows then, so the source is ended, too
 */
export async function rebaseVm(
  source: RebaseSource,
  target: CaptureTarget,
  options: RebaseOptions,
  signal?: AbortSignal,
): Promise<CaptureResult> {
  const { qmp, spec } = source;
  assertCapturable(source);
  let successor: QemuProcess | undefined;
  const reached = async (step: RebaseStep): Promise<void> => {
    signal?.throwIfAborted();
    await options.onStep?.(step, successor);
    signal?.throwIfAborted();
  };
  const stateFile = `${target.stateFile}.tmp`;
  const wasRunning = await isRunning(qmp, signal);
  let paused = false;
  let started: number;
  try {
    await reached('start');
    const waiting = await startSuccessor(source, stateFile, options.binary, signal);
    successor = waiting.vmm;
    options.onReached?.('successor started');
    // A page it had written already would hide what the source writes there until it stops.
    if (await hasPrivatePages(successor.identity.pid, source.memory))
      throw new Conflict('the successor has changed guest memory before it has its state', {
        reason: 'MEMORY_TOUCHED',
      });
    await reached('pause');
    started = performance.now();
    paused = true;
    await Promise.all([
      qmp.run('stop', {}, signal),
      // live: hands over the disks of a stopped VM. One that was paused before keeps them: it cannot get them back without
      // running, and its successor takes them only when it first runs, after the source has gone.
      qmp.run(SAVE_COMMAND, { filename: stateFile, live: wasRunning }, signal),
    ]);
    options.onReached?.('saved');
    await reached('load');
    await allEnded(
      withTimeLimit(LOAD_LIMIT, signal, (limited) =>
        loadState(waiting.vmm, waiting.state, { lateBlockActivate: true }, limited),
      ),
      atRest(options),
    );
    options.onReached?.('loaded');
    await reached('note');
    noteSuccessor(spec, source.identity, successor.identity);
    options.onReached?.('noted');
    await reached('continue');
    if (wasRunning) await continueIn(successor);
  } catch (error) {
    const lost = error instanceof LostAtHandOver;
    if (lost) await endProcess(source.identity);
    forgetSuccessor(spec); // before the successor ends: the note without it would mean that the VM has ended
    if (successor !== undefined) killProcess(successor.identity);
    try {
      if (paused && !lost) await continueAfter(error, qmp, wasRunning);
    } finally {
      if (successor !== undefined) {
        await successor.exited;
        successor.qmp.close();
        removeSockets(successorSocketsOf(spec));
      }
      await rm(stateFile, { force: true });
    }
    throw error;
  }
  const pauseMs = performance.now() - started;
  options.onReached?.('went on');
  // From here on the caller's signal is not asked any more: the successor is the VM.
  await options.onStep?.('hand over', successor);
  promoteSockets(spec);
  options.onReplaced(successor);
  qmp.close();
  await endProcess(source.identity);
  options.onReached?.('handed over');
  try {
    const result = await finishCapture(source, { stateFile, target, memoryFile: spec.memoryFile });
    await rename(stateFile, target.stateFile);
    options.onReached?.('written');
    return { ...result, pauseMs };
  } catch (error) {
    await rm(stateFile, { force: true });
    throw error;
  }
}

/** A VMM like the source's, waiting for its state; `state` is its number of the descriptor of `stateFile`. */
async function startSuccessor(
  { identity, spec }: RebaseSource,
  stateFile: string,
  binary: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly vmm: QemuProcess; readonly state: number }> {
  const commandLine = await commandLineOf(identity.pid);
  // Made before there is anything in it, so that it can be handed down; the source will write to the same inode.
  await using file = await open(stateFile, 'w+', 0o600);
  const tapNumber = tapOf(commandLine);
  const tap = tapNumber === undefined ? undefined : takeTap(identity.pid, tapNumber);
  let state = -1;
  try {
    const vmm = await withTimeLimit(START_LIMIT, signal, (limited) =>
      startQemu(
        {
          binary,
          spec,
          sockets: successorSocketsOf(spec),
          ...(tap === undefined ? {} : { tapDescriptor: tap }),
          stateDescriptor: file.fd,
          arguments: (inherited) => {
            state = inherited.state;
            return successorArguments(commandLine, inherited);
          },
        },
        limited,
      ),
    );
    return { vmm, state };
  } finally {
    if (tap !== undefined) closeSync(tap);
  }
}

async function commandLineOf(pid: number): Promise<string[]> {
  try {
    const text = await readFile(`/proc/${String(pid)}/cmdline`, 'utf8');
    return text.split('\0').slice(1, -1);
  } catch (error) {
    throw processInaccessible(pid, 'cmdline', error);
  }
}

/** The daemon has closed its own copy when it had started the source, and a second TAP of that name cannot be opened. */
function takeTap(pid: number, number: number): number {
  try {
    return takeDescriptor(pid, number);
  } catch (error) {
    throw processInaccessible(pid, `fd/${String(number)}`, error);
  }
}

async function continueIn({ qmp }: QemuProcess): Promise<void> {
  await isRunning(qmp); // a successor that is gone by now has not run
  try {
    await qmp.run('cont');
  } catch (error) {
    if (error instanceof InvalidState) throw error; // refused: it has not run
    throw new LostAtHandOver(error);
  }
}

class LostAtHandOver extends Unreachable {
  constructor(cause: unknown) {
    super(`the VM was lost while it was handed over: ${messageOf(cause)}`, { reason: 'VMM_GONE', cause });
  }
}
