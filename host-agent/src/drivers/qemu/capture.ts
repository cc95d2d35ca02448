import { open, rename, rm } from 'node:fs/promises';
import { InvalidInput, Unsupported } from '@offshoot/shared/errors.js';
import { goOnAfter } from '../../domain/go-on-after.js';
import type { CaptureStep } from '../../domain/operations.js';
import type { FileIdentity } from '../../os/file-mappings.js';
import { PrivatePages } from '../../os/private-pages.js';
import { sparseCopy } from '../../os/sparse-copy.js';
import type { CaptureOptions, CaptureResult, CaptureTarget, MachineSpec } from '../../ports/driver.js';
import { sha256Of } from '../capture-check.js';
import { allEnded, atRest } from '../capture-parts.js';
import { SAVE_COMMAND, type MachineFacts } from './installation.js';
import { q35Regions } from './memory-layout.js';
import type { QmpClient } from './qmp-client.js';
import { isRunning } from './run-state.js';

export interface CaptureSource {
  readonly pid: number;
  readonly qmp: QmpClient;
  readonly facts: MachineFacts;
  readonly spec: Pick<MachineSpec, 'memoryFile' | 'memoryBytes'>;
  readonly memory: FileIdentity;
  /** Whether {@link memory} is a base that others share. */
  readonly privateMemory: boolean;
  /** Why this QEMU cannot; empty when it can. */
  readonly unsupported: string;
}

/**
 * Pauses a VM and writes its device state, and its memory unless its memory file is its own; see the driver port. Whatever
 * takes time without needing the pause comes before it, or, when the VM goes on, after it.
 * @param options `goOn`: the VM continues, if it ran, once everything of the instant is in hand
 */
export async function captureVm(
  source: CaptureSource,
  target: CaptureTarget,
  options: (CaptureOptions<CaptureStep> & { readonly goOn: false }) | (CaptureOptions & { readonly goOn: true }),
  signal?: AbortSignal,
): Promise<CaptureResult> {
  const { qmp, spec } = source;
  assertCapturable(source);
  const memoryFile = source.privateMemory ? target.memoryFile : spec.memoryFile;
  if (source.privateMemory && memoryFile === spec.memoryFile)
    throw InvalidInput.field('memoryFile', `must be another file than the base that others may map: ${memoryFile}`);
  // A clone may be loading the file of that name just now: the new one takes its place only when it is whole.
  const stateFile = `${target.stateFile}.tmp`;
  const wasRunning = await isRunning(qmp, signal);
  let paused = false;
  try {
    if (source.privateMemory) {
      await rm(memoryFile, { force: true });
      await sparseCopy(spec.memoryFile, memoryFile, signal);
      options.onReached?.('base copied');
    }
    using pages = source.privateMemory ? await PrivatePages.of(source.pid, source.memory, memoryFile) : undefined;
    signal?.throwIfAborted();
    const started = performance.now();
    paused = true;
    // Also writes through what the guest has written to its disk and not flushed itself.
    const stopped = qmp.run('stop', {}, signal);
    // live: a stopped VM's disks would be handed over, and it could not just go on.
    const saved = qmp.run(SAVE_COMMAND, { filename: stateFile, live: false }, signal);
    saved.catch(() => undefined); // asked when the VM has stopped
    await stopped;
    options.onReached?.('paused');
    await allEnded(saved, pages?.stage(signal) ?? Promise.resolve(), atRest(options));
    options.onReached?.('saved');
    if (options.goOn && wasRunning) await qmp.run('cont');
    if (options.goOn) {
      paused = false;
      options.onReached?.('went on');
    }
    const wentOn = performance.now();
    await pages?.write();
    const result = await finishCapture(source, { stateFile, target, memoryFile });
    signal?.throwIfAborted();
    await rename(stateFile, target.stateFile);
    options.onReached?.('written');
    return { ...result, pauseMs: (options.goOn ? wentOn : performance.now()) - started };
  } catch (error) {
    try {
      if (paused) await continueAfter(error, qmp, wasRunning);
    } finally {
      await rm(stateFile, { force: true });
      if (source.privateMemory) await rm(memoryFile, { force: true });
    }
    throw error;
  }
}

export function assertCapturable({ unsupported }: CaptureSource): void {
  if (unsupported === '') return;
  throw new Unsupported(`this VM cannot be captured: ${unsupported}`, { reason: 'CAPTURE_UNSUPPORTED' });
}

/** What is recorded of a capture, of which `stateFile` is still to get its name. */
export async function finishCapture(
  { facts, spec }: CaptureSource,
  { stateFile, target, memoryFile }: { stateFile: string; target: CaptureTarget; memoryFile: string },
): Promise<Omit<CaptureResult, 'pauseMs'>> {
  await using state = await open(stateFile, 'r');
  return {
    stateFile: target.stateFile,
    stateSha256: await sha256Of(state, stateFile),
    memoryFile,
    regions: q35Regions(spec.memoryBytes),
    driverVersion: facts.version,
    machineType: facts.machineType,
    cpuModel: facts.cpuModel,
    accelerator: facts.accelerator,
  };
}

/** Lets a VM go on as it was. QEMU answers only when a save that was given up on has ended, so its file appears no more. */
export async function continueAfter(error: unknown, qmp: QmpClient, wasRunning: boolean): Promise<void> {
  // Also when `stop` was given up: QEMU carries out commands in order, so this comes after it.
  await goOnAfter(error, () => (wasRunning ? qmp.run('cont') : isRunning(qmp)));
}
