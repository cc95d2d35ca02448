import { messageOf } from '@offshoot/shared/errors.js';
import type { InstanceId } from '../domain/ids.js';
import type { Vm } from '../ports/driver.js';
import type { Context } from './context.js';

/**
 * Makes what a VM has written so far an immutable layer, so that clones of its disk share it and copy only what comes after.
 * Called between the guest's sync, which would else fill the new file, and the pause, which it is to keep short.
 */
export async function layDisk(context: Context, id: InstanceId, vm: Vm, signal: AbortSignal): Promise<void> {
  const { disks } = context;
  const paths = context.paths.instance(id);
  // The clone within the pause takes the file of that name: it has to be the one the VM writes to.
  await disks.settle(paths, await vm.diskFile(signal));
  if (!(await disks.needsLayer(paths))) return;
  try {
    await vm.layDisk(await disks.prepareLayer(paths), signal);
  } catch (error) {
    await settleDisk(context, id, vm);
    throw error;
  }
  await disks.settle(paths, await vm.diskFile());
}

/** The same for an instance that does not run, whose forks would each copy its whole disk. The caller has no lock of it. */
export async function layRestingDisk(context: Context, id: InstanceId, signal: AbortSignal): Promise<void> {
  const paths = context.paths.instance(id);
  if (!isResting(context, id) || !(await context.disks.needsLayer(paths))) return;
  using _lock = await context.locks.exclusive(id, signal);
  if (!isResting(context, id) || !(await context.disks.needsLayer(paths))) return;
  await context.disks.prepareLayer(paths);
  await context.disks.settle(paths);
}

/**
 * Finishes or undoes a layer that was cut short. A failure is logged: everything that uses the disk comes by here again, or
 * refuses then.
 * @param vm left out, no VMM may have the disk open
 */
export async function settleDisk(
  context: Pick<Context, 'disks' | 'paths' | 'logger'>,
  id: InstanceId,
  vm?: Vm,
  signal?: AbortSignal,
): Promise<void> {
  try {
    await context.disks.settle(context.paths.instance(id), await vm?.diskFile(signal));
  } catch (error) {
    context.logger.error({ instance: id, error: messageOf(error) }, 'the layers of a disk could not be settled');
  }
}

function isResting({ store }: Context, id: InstanceId): boolean {
  const state = store.byId(id)?.state;
  return state === 'STANDBY' || state === 'STOPPED';
}
