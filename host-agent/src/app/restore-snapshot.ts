import { NotFound } from '@offshoot/shared/errors.js';
import { assertAllowed } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import type { Snapshot } from '../domain/snapshot.js';
import { captureFor } from './capture-fitness.js';
import { assertCloneRoom } from './clone-room.js';
import type { Context } from './context.js';
import { settleDisk } from './disk-layer.js';
import { assertCapability, usableDriver } from './drivers.js';
import { changed, save } from './instance-record.js';
import { Operation } from './operation.js';
import { CLONE_MEMORY_BYTES } from './memory-budget.js';
import { removeNextFiles } from './remove-files.js';
import { resumeParked } from './restore-instance.js';
import { killVm } from './running-instances.js';

/**
 * Puts an instance back to a moment that was kept of it: what it was since then is gone. It then runs, or is stopped where
 * the snapshot has no memory. A failure before its present files are replaced leaves it as it was; one after that, parked at
 * the snapshot's moment.
 */
export async function restoreSnapshot(
  context: Context,
  reference: string,
  signal: AbortSignal,
): Promise<{ instance: Instance; restoreMs: number }> {
  const started = performance.now();
  const { id, sourceId } = context.snapshots.resolve(reference);
  using _locks = await context.locks.all(
    [
      { id, mode: 'shared' },
      { id: sourceId, mode: 'exclusive' },
    ],
    signal,
  );
  const snapshot = context.snapshots.resolve(id);
  const instance = sourceOf(context, snapshot);
  assertAllowed('setBack', instance.name, instance.state);
  await assertCapability(context, instance.driver, 'snapshot', signal);
  const disks = context.disks.of(snapshot);
  await assertLoadable(context, snapshot, signal);
  const files = context.paths.snapshot(id);
  await assertCloneRoom(context, snapshot, files, 'restoring this snapshot');

  // A hypervisor that runs makes room for the next.
  const needed = snapshot.capture === undefined || instance.vmm !== undefined ? 0 : CLONE_MEMORY_BYTES;
  using _memory = context.memory.book([needed], 'restoring this snapshot');

  // Its answer is kept when the instance has resumed: until then a repeat does it all again, which comes to the same.
  await using operation = Operation.begin(
    { ...context, request: undefined },
    'restore-snapshot',
    instance.id,
    undefined,
  );
  operation.push('remove staged files', () => removeNextFiles(context, instance));
  const next = await context.files.createNext(instance.id, files, signal);
  if (snapshot.capture !== undefined) await context.files.shareCapture(files, next);
  await disks.clone(files, next, signal);
  const names = await context.files.namesOfNext(instance.id);
  operation.reached('stage');
  signal.throwIfAborted();

  // Nothing of it can be undone any more; a daemon that is killed from here on finds the list and goes on by it.
  operation.release();
  const running = context.running.remove(instance.id);
  const replacing = setBackTo(instance, snapshot, names);
  await save(context, replacing, { durable: true });
  operation.reached('record');
  if (running !== undefined) await killVm(running);
  operation.reached('end hypervisor');
  const replaced = await replaceFiles(context, replacing);
  operation.reached('replace');
  await settleDisk(context, replaced);
  if (replaced.state === 'STOPPED') return { instance: replaced, restoreMs: performance.now() - started };
  return await resumeParked({ ...context, request: undefined }, replaced, started, signal);
}

/** Finishes what {@link restoreSnapshot} began, wherever it was cut short; the files lie ready. */
export async function replaceFiles(context: Context, instance: Instance): Promise<Instance> {
  await context.files.replaceByNext(instance.id, instance.replacing ?? []);
  context.mailboxIndexes.forget(context.paths.instance(instance.id));
  const replaced = changed(instance, instance.state, { replacing: undefined });
  await save(context, replaced, { durable: true });
  return replaced;
}

function setBackTo(instance: Instance, { capture }: Snapshot, names: readonly string[]): Instance {
  const common = { vmm: undefined, stateReason: '', replacing: names };
  return capture === undefined
    ? changed(instance, 'STOPPED', { ...common, capture: undefined, identityPending: undefined })
    : changed(instance, 'STANDBY', { ...common, capture, identityPending: true });
}

function sourceOf({ store }: Context, { name, sourceId, sourceName }: Snapshot): Instance {
  const instance = store.byId(sourceId);
  if (instance !== undefined) return instance;
  throw new NotFound(
    `the instance that snapshot ${name} was taken of, ${sourceName} (${sourceId}), is deleted: fork the snapshot instead`,
    { reason: 'INSTANCE_NOT_FOUND', metadata: { instance: sourceId, snapshot: name } },
  );
}

/** Everything that can be known before the instance's present state is given up. */
async function assertLoadable(context: Context, snapshot: Snapshot, signal: AbortSignal): Promise<void> {
  await context.snapshotFiles.assertUnchanged(snapshot);
  if (snapshot.capture === undefined) return;
  const driver = await usableDriver(context, snapshot.driver, signal);
  await driver.assertLoadable(captureFor(context, snapshot), context.paths.snapshot(snapshot.id).deviceState, signal);
}
