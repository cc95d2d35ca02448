import { ulid } from 'ulid';
import type { InstanceId } from '../domain/ids.js';
import { assertAllowed } from '../domain/instance-state.js';
import type { Capture, Instance } from '../domain/instance.js';
import type { GoOnStep } from '../domain/operations.js';
import type { CapturePaths } from '../paths.js';
import type { CaptureOptions, CaptureResult, CaptureTarget } from '../ports/driver.js';
import { captureFor } from './capture-fitness.js';
import { agentReady, captureRecord } from './capture-record.js';
import type { ForkInstanceCommand } from './commands.js';
import type { Context } from './context.js';
import { assertCapability, usableDriver } from './drivers.js';
import { HeldGuest } from './held-guest.js';
import { changed, save } from './instance-record.js';
import { Operation } from './operation.js';
import { runningVm, type RunningInstance } from './running-instances.js';

/** One moment of an instance, held still for as long as forks are made of it. */
export interface ForkBase extends AsyncDisposable {
  readonly source: Instance;
  /** Undefined: the source was stopped, and only its disk is there. */
  readonly capture: Capture | undefined;
  /** Where memory, device state and disk lie. */
  readonly files: CapturePaths;
  /** How long a running source stood still, in milliseconds; undefined for one that was not running. */
  readonly sourcePauseMs: number | undefined;
}

/**
 * What forks of the source are made of: the files of a parked or stopped instance, which nobody changes meanwhile, or a
 * capture of a running one, which goes on. Disposing of it lets the instance go, or removes the capture.
 */
export async function openForkBase(
  context: Context,
  {
    source: reference,
    fromRunning,
    freezeWorkload,
  }: Pick<ForkInstanceCommand, 'source' | 'fromRunning' | 'freezeWorkload'>,
  signal: AbortSignal,
): Promise<ForkBase> {
  const { id } = context.store.resolve(reference);
  const lock = await context.locks.shared(id, signal);
  try {
    const source = context.store.resolve(id);
    assertAllowed(fromRunning ? 'forkRunning' : 'fork', source.name, source.state);
    assertCapability(source.driver, 'fork');
    if (source.state === 'STANDBY' || source.state === 'STOPPED') {
      const capture = source.state === 'STANDBY' ? captureFor(context, source) : undefined;
      return {
        source,
        capture,
        files: context.paths.instance(id),
        sourcePauseMs: undefined,
        [Symbol.asyncDispose]: () => {
          lock[Symbol.dispose]();
          return Promise.resolve();
        },
      };
    }
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
  lock[Symbol.dispose]();
  return captureRunning(context, id, freezeWorkload, signal);
}

/** Captures a running or paused instance into a folder of its own; the instance is again as it was on every path. */
async function captureRunning(
  context: Context,
  id: InstanceId,
  freezeWorkload: boolean,
  signal: AbortSignal,
): Promise<ForkBase> {
  using _lock = await context.locks.exclusive(id, signal);
  const source = context.store.resolve(id);
  assertAllowed('forkRunning', source.name, source.state);
  assertCapability(source.driver, 'snapshot');
  await usableDriver(context, source.driver, signal);
  const running = runningVm(context.running, source);
  if (source.state === 'RUNNING') await agentReady(running, source, signal);

  const files = context.paths.capture(ulid().toLowerCase());
  await using operation = Operation.begin(context, 'capture-running', id);
  operation.push('remove capture', () => context.files.removeCapture(files));
  await context.files.createCapture(files);
  operation.reached('folder');
  const target = { stateFile: files.deviceState, memoryFile: files.memory };
  const paths = context.paths.instance(id);
  // Disks and memory belong to one instant.
  const whilePaused = async (): Promise<void> => {
    await context.disks.clone(paths.disk, files.disk, signal);
    operation.reached('clone disk');
  };
  const onReached = (step: GoOnStep): void => {
    operation.reached(step);
  };
  await using held = await HeldGuest.hold(source, running.link, freezeWorkload, context.logger, signal);
  operation.reached('hold');
  const result = await snapshot(context, source, running, target, { whilePaused, onReached }, signal);
  operation.reached('record');
  held.assertHeld(result.pauseMs);
  if (result.memoryFile !== files.memory) await context.files.shareMemory(result.memoryFile, files);
  operation.reached('share memory');
  await context.files.copyWorkload(paths, files);
  operation.reached('copy workload');
  const capture = await captureRecord(context, source, running, result, files);
  operation.release();
  return {
    source,
    capture,
    files,
    sourcePauseMs: source.state === 'RUNNING' ? result.pauseMs : undefined,
    [Symbol.asyncDispose]: async () => {
      context.mailboxIndexes.forget(files);
      await context.files.removeCapture(files);
    },
  };
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
  signal: AbortSignal,
): Promise<CaptureResult> {
  try {
    return (await vm.snapshot(target, options, signal)).capture;
  } finally {
    if (vm.process.pid !== source.vmm?.pid)
      await save(context, changed(source, source.state, { vmm: vm.process }), { durable: false });
  }
}
