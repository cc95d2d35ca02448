import { open, rename, rm } from 'node:fs/promises';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { goOnAfter } from '../../domain/go-on-after.js';
import type { FileIdentity } from '../../os/file-mappings.js';
import { PrivatePages } from '../../os/private-pages.js';
import { sparseCopy } from '../../os/sparse-copy.js';
import { swappedBytes } from '../../os/swapped-memory.js';
import type { CaptureResult, CaptureTarget, MachineSpec } from '../../ports/driver.js';
import { sha256Of, type MachineIdentity } from '../capture-check.js';
import { atRest } from '../capture-parts.js';
import type { Going } from '../http-api/http-vm.js';
import type { FirecrackerApi } from './firecracker-api.js';
import { LentFiles } from './jail/lent-files.js';
import { firecrackerRegions } from './memory-layout.js';

export interface CaptureSource {
  readonly pid: number;
  readonly api: FirecrackerApi;
  readonly machine: MachineIdentity;
  readonly spec: Pick<MachineSpec, 'directory' | 'runDirectory' | 'memoryFile' | 'memoryBytes'>;
  /** What the VMM maps as RAM, privately; undefined for a VM booted cold, whose memory is in no file. */
  readonly base: FileIdentity | undefined;
  /** Told that the guest's connections are cut, which each snapshot does to them. */
  readonly onChannelCut: () => void;
}

/**
 * Pauses a VM and writes its device state and its memory; see the driver port. Firecracker makes both in one piece, and waits
 * for the disk (fsync of both files) before it answers, so that is in the pause.
 *
 * Memory of a restored VM is its base, the pages it has changed, and what it changed last. Only the last is written in the
 * pause, by Firecracker, which has KVM's log of dirty pages. That log alone would not do: each snapshot, and each that failed,
 * empties it, and what the host has written into the VM (mailboxes) was never in it. So the private pages go into the copy of
 * the base before the pause: whatever changes after that is in the log.
 * @param options `goOn`: the VM continues, if it ran, once everything of the instant is in hand
 */
export async function captureVm(
  source: CaptureSource,
  target: CaptureTarget,
  options: Going,
  signal?: AbortSignal,
): Promise<CaptureResult> {
  const { api, spec, machine } = source;
  if (target.memoryFile === spec.memoryFile && source.base !== undefined)
    throw InvalidInput.field(
      'memoryFile',
      `must be another file than the base that others may map: ${target.memoryFile}`,
    );
  // A clone may be loading the file of that name just now: the new one takes its place only when it is whole.
  const stateFile = `${target.stateFile}.tmp`;
  const { memoryFile } = target;
  const wasRunning = await api.isRunning(signal);
  let paused = false;
  try {
    await rm(memoryFile, { force: true });
    await prepareMemory(source, memoryFile, options, signal);
    await createPrivately(stateFile);
    signal?.throwIfAborted();
    const started = performance.now();
    paused = true;
    await api.pause(signal);
    options.onReached?.('paused');
    try {
      await using lent = await LentFiles.to(spec, { stateFile, memoryFile });
      await writeSnapshot(source, lent.names, signal);
    } finally {
      source.onChannelCut();
    }
    // Not beside it: until Firecracker has saved the devices, requests the guest made before the pause may reach its disk.
    // After that they may, too, but then whoever loads the state makes them once more, from the same memory.
    await atRest(options);
    options.onReached?.('saved');
    signal?.throwIfAborted();
    if (options.goOn && wasRunning) await api.resume();
    if (options.goOn) {
      paused = false;
      options.onReached?.('went on');
    }
    const wentOn = performance.now();
    const stateSha256 = await digestOf(stateFile);
    signal?.throwIfAborted();
    await rename(stateFile, target.stateFile);
    options.onReached?.('written');
    return {
      stateFile: target.stateFile,
      stateSha256,
      memoryFile,
      regions: firecrackerRegions(spec.memoryBytes),
      driverVersion: machine.version,
      machineType: machine.machineType,
      cpuModel: machine.cpuModel,
      accelerator: machine.accelerator,
      pauseMs: (options.goOn ? wentOn : performance.now()) - started,
    };
  } catch (error) {
    try {
      // Firecracker carries out requests in order: when it answers, a snapshot that was given up on has ended, too.
      if (paused) await goOnAfter(error, () => (wasRunning ? api.resume() : api.isRunning()));
    } finally {
      await rm(stateFile, { force: true });
      await rm(memoryFile, { force: true });
    }
    throw error;
  }
}

/** Everything of the memory that can be written while the VM runs. */
async function prepareMemory(
  { base, pid, spec }: CaptureSource,
  memoryFile: string,
  { onReached }: Going,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (base === undefined) {
    await createPrivately(memoryFile);
    return;
  }
  await sparseCopy(spec.memoryFile, memoryFile, signal);
  using pages = await PrivatePages.of(pid, base, memoryFile);
  // Pages that change while they are read are dirty, and written again in the pause.
  await pages.stage(signal);
  await pages.write();
  onReached?.('base copied');
}

async function writeSnapshot(
  { api, base, pid }: CaptureSource,
  files: { readonly stateFile: string; readonly memoryFile: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  await api.createSnapshot(files, 'Diff', signal);
  if (base !== undefined || (await swappedBytes(pid)) === 0) return;
  // Of memory that is in no file, Firecracker asks mincore(2) what there is, which does not know what is swapped out. It stays
  // out while nobody touches it, so it is seen now; written whole, it comes back. Dense: 413 ms for 128 MiB.
  await api.createSnapshot(files, 'Full', signal);
}

/** Made here, not by the VMM, whose mode would depend on the daemon's umask. */
async function createPrivately(path: string): Promise<void> {
  await using _file = await open(path, 'w', 0o600);
}

async function digestOf(path: string): Promise<string> {
  await using file = await open(path, 'r');
  return await sha256Of(file, path);
}
