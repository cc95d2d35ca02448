import { open, rename, rm } from 'node:fs/promises';
import { InvalidInput, Unreachable, Unsupported, messageOf } from '@offshoot/shared/errors.js';
import type { FileIdentity } from '../../os/file-mappings.js';
import { copyPrivatePages } from '../../os/private-pages.js';
import { sparseCopy } from '../../os/sparse-copy.js';
import type { CaptureResult, MachineSpec } from '../../ports/driver.js';
import { sha256Of } from './capture-check.js';
import type { MachineFacts } from './installation.js';
import { q35Regions } from './memory-layout.js';
import type { QmpClient } from './qmp-client.js';

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
 * takes time without needing the pause comes before it.
 */
export async function captureVm(
  source: CaptureSource,
  target: { readonly stateFile: string; readonly memoryFile: string },
  signal?: AbortSignal,
): Promise<CaptureResult> {
  const { qmp, facts, spec } = source;
  if (source.unsupported !== '')
    throw new Unsupported(`this VM cannot be captured: ${source.unsupported}`, { reason: 'CAPTURE_UNSUPPORTED' });
  const memoryFile = source.privateMemory ? target.memoryFile : spec.memoryFile;
  if (source.privateMemory && memoryFile === spec.memoryFile)
    throw InvalidInput.field('memoryFile', `must be another file than the base that others may map: ${memoryFile}`);
  // A clone may be loading the file of that name just now: the new one takes its place only when it is whole.
  const stateFile = `${target.stateFile}.tmp`;
  let paused = false;
  try {
    if (source.privateMemory) {
      await rm(memoryFile, { force: true });
      await sparseCopy(spec.memoryFile, memoryFile, signal);
    }
    signal?.throwIfAborted();
    const started = performance.now();
    paused = true;
    // Also writes through what the guest has written to its disk and not flushed itself.
    await qmp.run('stop', {}, signal);
    // live: a stopped VM's disks would be handed over, and it could not just go on.
    await qmp.run('xen-save-devices-state', { filename: stateFile, live: false }, signal);
    if (source.privateMemory) await copyPrivatePages(source.pid, source.memory, memoryFile, signal);
    const stateSha256 = await hashed(stateFile);
    signal?.throwIfAborted();
    await rename(stateFile, target.stateFile);
    return {
      stateFile: target.stateFile,
      stateSha256,
      memoryFile,
      regions: q35Regions(spec.memoryBytes),
      driverVersion: facts.version,
      machineType: facts.machineType,
      cpuModel: facts.cpuModel,
      accelerator: facts.accelerator,
      pauseMs: performance.now() - started,
    };
  } catch (error) {
    try {
      // Answered only after a save that was given up on has ended, so that its file does not appear after its removal.
      if (paused) await resumeAfter(error, qmp);
    } finally {
      await rm(stateFile, { force: true });
      if (source.privateMemory) await rm(memoryFile, { force: true });
    }
    throw error;
  }
}

async function resumeAfter(error: unknown, qmp: QmpClient): Promise<void> {
  try {
    // Also when `stop` was given up: QEMU carries out commands in order, so this comes after it.
    await qmp.run('cont');
  } catch (resumeError) {
    throw new Unreachable(
      `the capture failed (${messageOf(error)}), and the VM could not be resumed: ${messageOf(resumeError)}`,
      {
        reason: 'RESUME_FAILED',
        cause: new AggregateError([error, resumeError]),
      },
    );
  }
}

async function hashed(path: string): Promise<string> {
  await using file = await open(path, 'r');
  return await sha256Of(file, path);
}
