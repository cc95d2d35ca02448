import { messageOf } from '@offshoot/shared/errors.js';
import { LIVE_STATES } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import { isDone, type OperationName } from '../domain/operations.js';
import type { JournalEntry } from '../ports/journal.js';
import { adoptVms } from './adopt-vms.js';
import type { Context } from './context.js';
import { settleDisk } from './disk-layer.js';
import { endVmms } from './end-vmms.js';
import { replaceFiles } from './restore-snapshot.js';

/**
 * Brings rows, folders and processes to agree after the daemon before ended, however it ended: what the journal shows to
 * have been under way is finished or undone, VMs that run are taken over, processes nobody owns are ended. Other VMs are not
 * touched.
 * @returns the instances whose VMs were taken over, as they were recorded; their guests have yet to hear of it
 */
export async function recover(context: Context): Promise<readonly Instance[]> {
  const { store, files, journal, answers, logger } = context;
  const cut = journal.unfinished();
  const live: Instance[] = [];
  const resting: Instance[] = [];
  const toGo: Instance[] = [];
  for (const instance of store.list()) {
    const isThere = await files.exists(instance.id);
    if (!isThere)
      logger.warn({ instance: instance.id, name: instance.name }, 'forgetting an instance whose folder is gone');
    const kind = !isThere || isToGo(instance, cut) ? toGo : LIVE_STATES.includes(instance.state) ? live : resting;
    kind.push(instance);
  }
  // A VMM that is still there was being ended, or had not begun.
  await endVmms(
    context,
    [...toGo, ...resting].map(({ id }) => id),
  );
  for (const { id } of toGo) {
    await files.remove(id);
    store.delete(id);
  }
  for (const instance of resting) await settle(context, instance, cut);
  const adopted = await adoptVms(context, live, (instance) => cutShort(instance, cut));
  await recoverSnapshots(context);
  const removed = await files.sweep(new Set(store.list().map(({ id }) => id)));
  if (removed.length > 0) logger.warn({ removed }, 'removed left-over folders');
  await sweepDisks(context);
  await context.images.settle();
  for (const { id, operation, step, instance: instanceId, image, request, begunAt } of cut) {
    const instance = instanceId === undefined ? undefined : store.byId(instanceId);
    const state = instance?.state;
    const found = { state, image: image !== undefined && (await context.images.isThere(image)) };
    const outcome = isDone({ operation, step }, found) ? 'finished' : 'undone';
    const named = { instance: instanceId, image, state, requestId: request?.id };
    logger.warn({ operation, step, ...named, begunAt, outcome }, 'an operation was cut short');
    // Those that are carried out here are answered here; the others' answers were kept with their outcome.
    if (outcome === 'finished' && request !== undefined && answers.of(request.id).length === 0)
      answers.keep(request, instance);
    journal.end(id);
  }
  return adopted;
}

/** Half made, half deleted, or made for a call that was to have all of its forks or none. */
const isToGo = ({ id, state }: Instance, cut: readonly JournalEntry[]): boolean =>
  state === 'CREATING' ||
  cut.some(
    ({ instance, operation, partOf }) => instance === id && (operation === 'delete-instance' || partOf !== undefined),
  );

const cutShort = ({ id }: Instance, cut: readonly JournalEntry[]): readonly OperationName[] =>
  cut.filter(({ instance }) => instance === id).map(({ operation }) => operation);

/** Makes an instance without a VM what its row says. */
async function settle(context: Context, instance: Instance, cut: readonly JournalEntry[]): Promise<void> {
  const { files } = context;
  const { id, state } = instance;
  const operations = cutShort(instance, cut);
  if (instance.replacing !== undefined) await replaceFiles(context, instance);
  await settleDisk(context, instance);
  if (state === 'STANDBY') await files.adoptNextMemory(id);
  if (state === 'STOPPED' || operations.includes('start-instance')) await files.dropCapture(id);
  // The row may have come further than the folder's record.
  const now = context.store.byId(id);
  if (now !== undefined && operations.length > 0) await files.save(now, { durable: false });
}

/** Rows and folders of snapshots; those that were not yet durable become so. */
async function recoverSnapshots({ snapshots, snapshotFiles, sealer, logger }: Context): Promise<void> {
  for (const snapshot of snapshots.list()) {
    if (await snapshotFiles.exists(snapshot.id)) {
      sealer.sealInBackground(snapshot);
      continue;
    }
    logger.warn({ snapshot: snapshot.id, name: snapshot.name }, 'forgetting a snapshot whose folder is gone');
    snapshots.delete(snapshot.id);
  }
  const removed = await snapshotFiles.sweep(new Set(snapshots.list().map(({ id }) => id)));
  if (removed.length > 0) logger.warn({ removed }, 'removed left-over snapshots');
}

/** Those that are not in the folders that went. */
async function sweepDisks({ disks, store, snapshots, paths, logger }: Context): Promise<void> {
  try {
    const instances = store.list().map(({ id }) => paths.instance(id));
    const removed = await disks.sweep([...instances, ...snapshots.list().map(({ id }) => paths.snapshot(id))]);
    if (removed.length > 0) logger.warn({ removed }, 'removed left-over disks');
  } catch (error) {
    logger.error({ error: messageOf(error) }, 'left-over disks could not be removed');
  }
}
