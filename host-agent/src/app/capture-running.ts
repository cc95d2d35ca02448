import { assertAllowed, type InstanceCall } from '../domain/instance-state.js';
import type { InstanceId } from '../domain/ids.js';
import type { Capture, Instance } from '../domain/instance.js';
import type { GoOnStep } from '../domain/operations.js';
import type { CapturePaths } from '../paths.js';
import type { DiskClone } from '../ports/disk-storage.js';
import type { CaptureOptions, CaptureResult, CaptureTarget } from '../ports/driver.js';
import { abortable } from './abortable.js';
import { agentReady, captureRecord } from './capture-record.js';
import type { Context } from './context.js';
import { layDisk } from './disk-layer.js';
import { assertCapability, usableDriver } from './drivers.js';
import { HeldGuest } from './held-guest.js';
import { changed, save } from './instance-record.js';
import { Operation } from './operation.js';
import { PauseLimit } from './pause-limit.js';
import { removeCapture } from './remove-files.js';
import { runningVm, type RunningInstance } from './running-instances.js';

/** A moment of an instance that went on. */
export interface RunningCapture {
  readonly source: Instance;
  readonly capture: Capture;
  /** How long a running source stood still, in milliseconds; undefined for one that was paused. */
  readonly sourcePauseMs: number | undefined;
  /** What its disk cost within the pause. */
  readonly sourceDisk: DiskClone | undefined;
}

/**
 * Captures a running or paused instance into a new folder; the instance is again as it was on every path. After a failure
 * there is no folder.
 */
export async function captureRunning(
  context: Context,
  id: InstanceId,
  call: InstanceCall,
  files: CapturePaths,
  freezeWorkload: boolean,
  signal: AbortSignal,
): Promise<RunningCapture> {
  using _lock = await context.locks.exclusive(id, signal);
  const source = context.store.resolve(id);
  assertAllowed(call, source.name, source.state);
  await assertCapability(context, source.driver, 'snapshot', signal);
  await usableDriver(context, source.driver, signal);
  const disks = context.disks.of(source);
  const running = runningVm(context.running, source);
  if (source.state === 'RUNNING') await agentReady(running, source, signal);

  const target = { stateFile: files.deviceState, memoryFile: files.memory };
  const paths = context.paths.instance(id);
  await using operation = Operation.begin(context, 'capture-running', id, signal);
  operation.push('remove capture', () => removeCapture(context, source, files));
  await context.files.createCapture(files, paths, signal);
  operation.reached('folder');
  // Disks and memory belong to one instant.
  let sourceDisk: DiskClone | undefined;
  using limit = new PauseLimit(source.name, context.limits.pauseMs, signal);
  const whilePaused = async (): Promise<void> => {
    limit.begin();
    limit.signal.throwIfAborted();
    // What the VMM wrote may be in the host's page cache alone, which a snapshot of a block device does not look into. A disk
    // that hangs cannot be asked to stop: at the limit nobody waits for it any more, and what it makes goes with the folder.
    await abortable(disks.flush(paths), limit.exceeded);
    sourceDisk = await abortable(disks.snapshot(paths, files, limit.signal), limit.exceeded);
    operation.reached('clone disk');
  };
  const onReached = (step: GoOnStep): void => {
    limit.reached(step);
    operation.reached(step);
  };
  using _quiet = context.merger.holdOff();
  await using held = await HeldGuest.hold(source, running, freezeWorkload, context.logger, signal);
  operation.reached('hold');
  await layDisk(context, source, running.vm, signal);
  operation.reached('lay disk');
  // Most of it before the pause: a hypervisor whose disk has no flush leaves all that its guest has synced to the host.
  await abortable(disks.flush(paths), signal);
  const result = await snapshot(context, source, running, target, { whilePaused, onReached }, limit);
  operation.reached('record');
  held.assertHeld(result.pauseMs);
  if (result.memoryFile !== files.memory) await context.files.shareMemory(result.memoryFile, files);
  operation.reached('share memory');
  const capture = await captureRecord(context, source, running, result, files);
  operation.release();
  const sourcePauseMs = source.state === 'RUNNING' ? result.pauseMs : undefined;
  return { source, capture, sourcePauseMs, sourceDisk };
}

/**
 * Captures the VM and keeps its record true: the first capture of a VM booted here leaves its memory file as the base and
 * moves the VM to another VMM, also where the capture's own files fail after that.
 */
async function snapshot(
  context: Context,
  source: Instance,
  { vm }: RunningInstance,
  target: CaptureTarget,
  options: CaptureOptions,
  limit: PauseLimit,
): Promise<CaptureResult> {
  try {
    return (await vm.snapshot(target, options, limit.signal)).capture;
  } catch (error) {
    throw limit.explain(error);
  } finally {
    if (vm.process.pid !== source.vmm?.pid)
      await save(context, changed(source, source.state, { vmm: vm.process }), { durable: false });
  }
}
