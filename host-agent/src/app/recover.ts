import { messageOf } from '@offshoot/shared/errors.js';
import type { InstanceId } from '../domain/ids.js';
import { LIVE_STATES } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import { isDone, type OperationName } from '../domain/operations.js';
import type { JournalEntry } from '../ports/journal.js';
import type { Context } from './context.js';
import { settleDisk } from './disk-layer.js';
import { forkIdentity } from './handoffs/fork-identity.js';
import { thaw } from './held-guest.js';
import { changed, save } from './instance-record.js';
import { machineFiles } from './machine-spec.js';
import { replaceFiles } from './restore-snapshot.js';
import type { RunningInstance } from './running-instances.js';

/**
 * How long a VMM and its guest may take to answer a new daemon. One that takes longer is ended, guest and all, so it is long: a host
 * is crowded when everything on it starts again.
 */
const ADOPT_MS = 20_000;
/** How long a guest may take to take its identity, in milliseconds. */
const IDENTITY_MS = 10_000;

/**
 * Brings rows, folders and processes to agree after the daemon before ended, however it ended: what the journal shows to
 * have been under way is finished or undone, VMs that run are taken over, processes nobody owns are ended. Other VMs are not
 * touched.
 */
export async function recover(context: Context): Promise<void> {
  const { store, files, journal, answers, logger } = context;
  const cut = journal.unfinished();
  for (const instance of store.list().filter((each) => isToGo(each, cut))) await remove(context, instance.id);
  for (const instance of store.list()) {
    if (await files.exists(instance.id)) await settle(context, instance, cut);
    else {
      logger.warn({ instance: instance.id, name: instance.name }, 'forgetting an instance whose folder is gone');
      await remove(context, instance.id);
    }
  }
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
}

/** Half made, half deleted, or made for a call that was to have all of its forks or none. */
const isToGo = ({ id, state }: Instance, cut: readonly JournalEntry[]): boolean =>
  state === 'CREATING' ||
  cut.some(
    ({ instance, operation, partOf }) => instance === id && (operation === 'delete-instance' || partOf !== undefined),
  );

async function remove({ orphans, paths, files, store }: Context, id: InstanceId): Promise<void> {
  await orphans.endProcessesOf(paths.instance(id).root);
  await files.remove(id);
  store.delete(id);
}

/** Makes an instance what its row says; one that was being stopped and has lost its VMM is stopped. */
async function settle(context: Context, instance: Instance, cut: readonly JournalEntry[]): Promise<void> {
  const { files } = context;
  const { id, state } = instance;
  const during = (operation: OperationName): boolean =>
    cut.some((entry) => entry.instance === id && entry.operation === operation);
  if (LIVE_STATES.includes(state)) {
    await adopt(context, instance, during('stop-instance'));
    return;
  }
  await endVmm(context, id); // one that is still there was being ended, or had not begun
  if (instance.replacing !== undefined) await replaceFiles(context, instance);
  await settleDisk(context, instance);
  if (state === 'STANDBY') await files.adoptNextMemory(id);
  if (state === 'STOPPED' || during('start-instance')) await files.dropCapture(id);
  // The row may have come further than the folder's record.
  const now = context.store.byId(id);
  if (now !== undefined && cut.some((entry) => entry.instance === id)) await files.save(now, { durable: false });
}

async function adopt(context: Context, instance: Instance, wasStopping: boolean): Promise<void> {
  const { logger } = context;
  const signal = AbortSignal.timeout(ADOPT_MS);
  const paths = context.paths.instance(instance.id);
  try {
    const driver = context.drivers.get(instance.driver);
    const vm =
      instance.vmm === undefined ? undefined : await driver?.adopt(instance.vmm, machineFiles(instance, paths), signal);
    if (vm !== undefined) {
      const running = await context.running.openLink(vm, instance, paths, 0, signal);
      await settleDisk(context, instance, vm, signal);
      running.link.wake();
      // The daemon may have been killed in the middle of a capture, with the VM paused and in the hands of another VMM.
      if (instance.state === 'RUNNING') await vm.resume(signal);
      else if ((await vm.state(signal)) === 'running') await vm.pause(signal);
      await save(context, changed(instance, instance.state, { vmm: vm.process }), { durable: false });
      context.running.add(instance.id, running);
      if (instance.state === 'RUNNING') void letGo(context, instance, running);
      logger.info({ instance: instance.id, name: instance.name, pid: vm.process.pid }, 'took over a running VM');
      return;
    }
    if (wasStopping) {
      await save(context, changed(instance, 'STOPPED', { vmm: undefined, stateReason: '' }), { durable: true });
      await context.files.dropCapture(instance.id);
    } else await fail(context, instance, 'the hypervisor ended while no daemon ran');
  } catch (error) {
    logger.error({ instance: instance.id, error: messageOf(error) }, 'a running VM could not be taken over');
    await fail(context, instance, `the hypervisor could not be taken over: ${messageOf(error)}`);
  }
  await endVmm(context, instance.id);
  await settleDisk(context, instance);
}

async function endVmm({ orphans, files, paths }: Context, id: InstanceId): Promise<void> {
  await orphans.endProcessesOf(paths.instance(id).root);
  await files.dropJail(id);
}

/** The workload may have been frozen when the daemon ended; where the identity was still to be handed over, that lets it go. */
async function letGo(context: Context, instance: Instance, running: RunningInstance): Promise<void> {
  if (instance.identityPending === undefined) {
    await thaw(running, instance.name, context.logger);
    return;
  }
  const credential = running.credential.issue();
  try {
    await running.link.reconfigureNetwork(forkIdentity(instance, credential), AbortSignal.timeout(IDENTITY_MS));
    using _lock = await context.locks.exclusive(instance.id, new AbortController().signal);
    const now = context.store.byId(instance.id);
    if (now?.identityPending === true && LIVE_STATES.includes(now.state))
      await save(context, changed(now, now.state, { identityPending: undefined }), { durable: false });
  } catch (error) {
    context.logger.warn({ instance: instance.id, error: messageOf(error) }, 'a guest did not take its identity');
  } finally {
    credential.fill(0);
  }
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

async function fail(context: Context, instance: Instance, reason: string): Promise<void> {
  await save(context, changed(instance, 'FAILED', { vmm: undefined, stateReason: reason }), { durable: true });
}
