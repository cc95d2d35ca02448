import { mintSnapshotId, type InstanceId } from '../domain/ids.js';
import { LIVE_STATES, assertAllowed } from '../domain/instance-state.js';
import type { Capture, Instance } from '../domain/instance.js';
import type { Snapshot } from '../domain/snapshot.js';
import type { CapturePaths } from '../paths.js';
import { captureFor } from './capture-fitness.js';
import { captureRunning } from './capture-running.js';
import { assertCloneRoom } from './clone-room.js';
import type { CreateSnapshotCommand, CreatedSnapshot } from './commands.js';
import type { Context } from './context.js';
import { layRestingDisk } from './disk-layer.js';
import { successorMemory } from './fork-booking.js';
import { Operation } from './operation.js';
import { removeSnapshotFiles } from './remove-files.js';

/**
 * Keeps one moment of an instance, which goes on as it was. Nobody sees the snapshot before it is complete; on failure and
 * cancellation, also while it is being made durable, nothing of it is left.
 */
export async function createSnapshot(
  context: Context,
  command: CreateSnapshotCommand,
  signal: AbortSignal,
): Promise<CreatedSnapshot> {
  const { snapshots, snapshotFiles, sealer } = context;
  const instance = context.store.resolve(command.instance);
  assertAllowed('snapshot', instance.name, instance.state);
  if (command.name !== undefined) snapshots.assertNameFree(command.name);
  // A private clone's memory becomes a file of its own, of what it holds that is not zero.
  const memory = LIVE_STATES.includes(instance.state) ? instance.memoryBytes : 0;
  await assertCloneRoom(context, instance, context.paths.instance(instance.id), 'this snapshot', memory);

  using _memory = context.memory.book(successorMemory(instance), 'this snapshot');

  await using operation = Operation.begin(context, 'create-snapshot', undefined, signal);
  const id = mintSnapshotId();
  operation.push('remove folder', () => removeSnapshotFiles(context, instance, id));
  const staged = snapshotFiles.staged(id);
  const { source, capture, sourcePauseMs } = await captureInto(context, instance.id, staged, command, signal);
  operation.reached('files');
  const { imageId, driver, storage, vcpus, memoryBytes, diskBytes, agent } = source;
  const snapshot: Snapshot = {
    id,
    name: command.name ?? `snap-${id.slice(-10)}`,
    labels: command.labels,
    createdAt: new Date().toISOString(),
    sourceId: source.id,
    sourceName: source.name,
    imageId,
    driver,
    storage,
    vcpus,
    memoryBytes,
    ...(diskBytes === undefined ? {} : { diskBytes }),
    ...(agent === undefined ? {} : { agent }),
    ...(capture === undefined ? {} : { capture }),
    stamps: await snapshotFiles.stampsOf(staged),
  };
  signal.throwIfAborted();
  await snapshotFiles.publish(snapshot);
  operation.reached('publish');
  operation.recordRows(
    () => {
      snapshots.insert(snapshot);
    },
    {
      answer: { snapshot, sourcePauseMs },
      undo: () => {
        snapshots.delete(id);
      },
    },
  );
  operation.push('stop making it durable', () => sealer.forget(id));
  const kept = command.waitDurable ? await sealer.seal(snapshot, signal) : snapshot;
  operation.release();
  sealer.sealInBackground(kept);
  return { snapshot: kept, sourcePauseMs };
}

interface Captured {
  readonly source: Instance;
  readonly capture: Capture | undefined;
  readonly sourcePauseMs: number | undefined;
}

/** Fills the folder from an instance at rest, or by a capture of one that runs. */
async function captureInto(
  context: Context,
  id: InstanceId,
  staged: CapturePaths,
  { freezeWorkload }: CreateSnapshotCommand,
  signal: AbortSignal,
): Promise<Captured> {
  await layRestingDisk(context, id, signal);
  {
    using _lock = await context.locks.shared(id, signal);
    const source = context.store.resolve(id);
    assertAllowed('snapshot', source.name, source.state);
    if (!LIVE_STATES.includes(source.state)) {
      const disks = context.disks.of(source);
      const capture = source.state === 'STANDBY' ? captureFor(context, source) : undefined;
      const paths = context.paths.instance(id);
      await context.files.createCapture(staged, paths, signal);
      if (capture !== undefined) await context.files.shareCapture(paths, staged);
      await disks.snapshot(paths, staged, signal);
      return { source, capture, sourcePauseMs: undefined };
    }
  }
  return captureRunning(context, id, 'snapshot', staged, freezeWorkload, signal);
}
