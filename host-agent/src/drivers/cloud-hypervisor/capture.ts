import { open, rename, rm } from 'node:fs/promises';
import { InvalidInput, Unsupported } from '@offshoot/shared/errors.js';
import { goOnAfter } from '../../domain/go-on-after.js';
import type { FileIdentity } from '../../os/file-mappings.js';
import { PrivatePages } from '../../os/private-pages.js';
import { sparseCopy } from '../../os/sparse-copy.js';
import type { CaptureResult, CaptureTarget, MachineSpec } from '../../ports/driver.js';
import { sha256Of, type MachineIdentity } from '../capture-check.js';
import { allEnded, atRest } from '../capture-parts.js';
import type { Going } from '../http-api/http-vm.js';
import type { CloudHypervisorApi } from './cloud-hypervisor-api.js';
import { cloudHypervisorRegions } from './memory-layout.js';
import { stateWithoutMemory } from './snapshot-config.js';
import { pack, takeSnapshot } from './snapshot-files.js';
import { filesOf } from './vmm-files.js';

export interface CaptureSource {
  readonly pid: number;
  readonly api: CloudHypervisorApi;
  readonly machine: MachineIdentity;
  readonly spec: Pick<MachineSpec, 'runDirectory' | 'memoryFile' | 'memoryBytes'>;
  /** The file the VMM maps as RAM. */
  readonly memory: FileIdentity;
  /** Whether {@link memory} is a base that others share. */
  readonly privateMemory: boolean;
  /** Why captures do not work here; empty when they do. */
  readonly unsupported: string;
}

/**
 * Pauses a VM and writes its device state, and its memory unless that is in a file of its own which it will not write any more;
 * see the driver port.
 *
 * Memory of a restored VM is its base and the pages it has changed. The base is copied before the pause, the pages are read
 * within it, as many as there are, and written after it. A VM booted cold writes its file, and goes on doing so when it goes
 * on: its memory is then copied within the pause, by a reflink where the file system has them, else all of it that is there.
 * @param options `goOn`: the VM continues, if it ran, once everything of the instant is in hand
 */
export async function captureVm(
  source: CaptureSource,
  target: CaptureTarget,
  options: Going,
  signal?: AbortSignal,
): Promise<CaptureResult> {
  const { api, spec, privateMemory } = source;
  assertCapturable(source);
  const copies = privateMemory || options.goOn;
  const memoryFile = copies ? target.memoryFile : spec.memoryFile;
  if (copies && memoryFile === spec.memoryFile)
    throw InvalidInput.field('memoryFile', `must be another file than the VM's own memory: ${memoryFile}`);
  // A clone may be loading the file of that name just now: the new one takes its place only when it is whole.
  const stateFile = `${target.stateFile}.tmp`;
  const { snapshot } = filesOf(spec);
  const wasRunning = await api.isRunning(signal);
  let paused = false;
  try {
    if (copies) await rm(memoryFile, { force: true });
    if (privateMemory) {
      await sparseCopy(spec.memoryFile, memoryFile, signal);
      options.onReached?.('base copied');
    }
    using pages = privateMemory ? await PrivatePages.of(source.pid, source.memory, memoryFile) : undefined;
    signal?.throwIfAborted();
    const started = performance.now();
    paused = true;
    await api.pause(signal);
    options.onReached?.('paused');
    const saving = takeSnapshot(api, snapshot, { privateMemory }, signal);
    await allEnded(
      saving,
      pages?.stage(signal) ?? Promise.resolve(),
      copies && !privateMemory ? sparseCopy(spec.memoryFile, memoryFile, signal) : Promise.resolve(),
      // The pause waits for the disk's requests that are under way, so disks are at rest.
      atRest(options),
    );
    const parts = await saving;
    options.onReached?.('saved');
    signal?.throwIfAborted();
    if (options.goOn && wasRunning) await api.resume();
    if (options.goOn) {
      paused = false;
      options.onReached?.('went on');
    }
    const wentOn = performance.now();
    await pages?.write();
    const regions = cloudHypervisorRegions(spec.memoryBytes);
    const stateSha256 = await writeState(
      stateFile,
      pack({ config: parts.config, state: stateWithoutMemory(parts.state, regions) }),
    );
    await rm(snapshot, { recursive: true, force: true });
    signal?.throwIfAborted();
    await rename(stateFile, target.stateFile);
    options.onReached?.('written');
    const { version, machineType, cpuModel, accelerator } = source.machine;
    return {
      stateFile: target.stateFile,
      stateSha256,
      memoryFile,
      regions,
      driverVersion: version,
      machineType,
      cpuModel,
      accelerator,
      pauseMs: (options.goOn ? wentOn : performance.now()) - started,
    };
  } catch (error) {
    try {
      // Requests are carried out in order: when it answers, a snapshot that was given up on has ended, too.
      if (paused) await goOnAfter(error, () => (wasRunning ? api.resume() : api.isRunning()));
    } finally {
      await rm(snapshot, { recursive: true, force: true });
      await rm(stateFile, { force: true });
      if (copies) await rm(memoryFile, { force: true });
    }
    throw error;
  }
}

function assertCapturable({ unsupported }: CaptureSource): void {
  if (unsupported === '') return;
  throw new Unsupported(`this VM cannot be captured: ${unsupported}`, { reason: 'CAPTURE_UNSUPPORTED' });
}

async function writeState(path: string, text: string): Promise<string> {
  await using file = await open(path, 'w+', 0o600);
  await file.writeFile(text);
  return await sha256Of(file, path);
}
