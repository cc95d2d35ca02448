import { ulid } from 'ulid';
import type { SnapshotId } from '../domain/ids.js';
import { assertAllowed } from '../domain/instance-state.js';
import type { Capture, Instance } from '../domain/instance.js';
import type { CapturePaths } from '../paths.js';
import type { DiskClone } from '../ports/disk-storage.js';
import { captureFor } from './capture-fitness.js';
import { captureRunning } from './capture-running.js';
import { assertCloneRoom } from './clone-room.js';
import type { ForkInstanceCommand } from './commands.js';
import type { Context } from './context.js';
import { layRestingDisk } from './disk-layer.js';
import { assertCapability } from './drivers.js';
import { removeCapture } from './remove-files.js';

/** What a fork takes over from what it is made of. */
export interface ForkOrigin extends Pick<
  Instance,
  'id' | 'name' | 'imageId' | 'driver' | 'storage' | 'vcpus' | 'memoryBytes' | 'diskBytes' | 'agent'
> {
  /** Where it is made of a snapshot; the rest is then the instance's that was taken of. */
  readonly snapshot?: SnapshotId;
}

/** One moment of an instance, held still for as long as forks are made of it. */
export interface ForkBase extends AsyncDisposable {
  readonly source: ForkOrigin;
  /** Undefined: the source was stopped, and only its disk is there. */
  readonly capture: Capture | undefined;
  /** Where memory, device state and disk lie. */
  readonly files: CapturePaths;
  /** How long a running source stood still, in milliseconds; undefined for one that was not running. */
  readonly sourcePauseMs: number | undefined;
  /** What the source's disk cost within its pause; undefined for one that did not run. */
  readonly sourceDisk: DiskClone | undefined;
}

type BaseCommand = Pick<ForkInstanceCommand, 'source' | 'of' | 'fromRunning' | 'freezeWorkload'>;

/**
 * What forks of the source are made of: the files of a snapshot, or of a parked or stopped instance, which nobody changes
 * meanwhile; or a capture of a running one, which goes on. Disposing of it lets the source go, or removes the capture.
 */
export async function openForkBase(context: Context, command: BaseCommand, signal: AbortSignal): Promise<ForkBase> {
  if (command.of === 'snapshot') return snapshotBase(context, command.source, signal);
  const instance = context.store.resolve(command.source);
  const { id } = instance;
  await layRestingDisk(context, id, signal);
  const lock = await context.locks.shared(id, signal);
  try {
    const source = context.store.resolve(id);
    assertAllowed(command.fromRunning ? 'forkRunning' : 'fork', source.name, source.state);
    const needed = command.fromRunning && source.state === 'RUNNING' ? 'forkRunning' : 'fork';
    await assertCapability(context, source.driver, needed, signal);
    if (source.state === 'STANDBY' || source.state === 'STOPPED') {
      const capture = source.state === 'STANDBY' ? captureFor(context, source) : undefined;
      return { source, capture, files: context.paths.instance(id), ...held(lock) };
    }
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
  lock[Symbol.dispose]();

  await assertCloneRoom(context, instance, context.paths.instance(id), 'forking this instance');
  const files = context.paths.capture(ulid().toLowerCase());
  const captured = await captureRunning(context, id, 'forkRunning', files, command.freezeWorkload, signal);
  return {
    ...captured,
    files,
    [Symbol.asyncDispose]: async () => {
      context.mailboxIndexes.forget(files);
      await removeCapture(context, captured.source, files);
    },
  };
}

async function snapshotBase(context: Context, reference: string, signal: AbortSignal): Promise<ForkBase> {
  const { id } = context.snapshots.resolve(reference);
  const lock = await context.locks.shared(id, signal);
  try {
    const snapshot = context.snapshots.resolve(id);
    await assertCapability(context, snapshot.driver, 'fork', signal);
    await context.snapshotFiles.assertUnchanged(snapshot);
    const { sourceId, capture } = snapshot;
    return {
      source: { ...snapshot, id: sourceId, snapshot: id },
      capture: capture === undefined ? undefined : captureFor(context, snapshot),
      files: context.paths.snapshot(id),
      ...held(lock),
    };
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

const held = (lock: Disposable): Pick<ForkBase, 'sourcePauseMs' | 'sourceDisk' | typeof Symbol.asyncDispose> => ({
  sourcePauseMs: undefined,
  sourceDisk: undefined,
  [Symbol.asyncDispose]: () => {
    lock[Symbol.dispose]();
    return Promise.resolve();
  },
});
