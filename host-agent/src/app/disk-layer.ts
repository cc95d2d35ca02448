import { messageOf } from '@offshoot/shared/errors.js';
import { DRIVER_CAPABILITIES } from '../domain/driver-capabilities.js';
import type { InstanceId } from '../domain/ids.js';
import { RESTING_STATES } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import type { Vm } from '../ports/driver.js';
import type { Context } from './context.js';

type Parts = Pick<Context, 'disks' | 'paths' | 'logger'>;
type LayingParts = Parts & { readonly merger: Pick<Context['merger'], 'consider'> };

/**
 * Makes what a VM has written so far an immutable layer, so that clones of its disk share it and copy only what comes after.
 * Called between the guest's sync, which would else fill the new file, and the pause, which it is to keep short. Nothing
 * where the hypervisor cannot lay disks: clones then copy all that the instance has written.
 */
export async function layDisk(context: LayingParts, instance: Instance, vm: Vm, signal: AbortSignal): Promise<void> {
  if (!hasLayers(instance)) return;
  const disks = context.disks.of(instance);
  const paths = context.paths.instance(instance.id);
  // The clone within the pause takes the file of that name: it has to be the one the VM writes to.
  await disks.settle(paths, await vm.diskFile(signal));
  if (!(await disks.needsLayer(paths))) return;
  try {
    await vm.layDisk(await disks.prepareLayer(paths), signal);
  } catch (error) {
    await settleDisk(context, instance, vm);
    throw error;
  }
  await disks.settle(paths, await vm.diskFile());
  context.merger.consider(instance.id);
}

/** The same for an instance that does not run, whose forks would each copy its whole disk. The caller has no lock of it. */
export async function layRestingDisk(
  context: Pick<Context, 'disks' | 'paths' | 'store' | 'locks'> & Pick<LayingParts, 'merger'>,
  id: InstanceId,
  signal: AbortSignal,
): Promise<void> {
  const paths = context.paths.instance(id);
  const disksToLay = async () => {
    const instance = context.store.byId(id);
    if (instance === undefined || !RESTING_STATES.includes(instance.state) || !hasLayers(instance)) return undefined;
    const disks = context.disks.of(instance);
    return (await disks.needsLayer(paths)) ? disks : undefined;
  };
  if ((await disksToLay()) === undefined) return;
  using _lock = await context.locks.exclusive(id, signal);
  const disks = await disksToLay();
  if (disks === undefined) return;
  await disks.prepareLayer(paths);
  await disks.settle(paths);
  context.merger.consider(id);
}

/**
 * Finishes or undoes a layer that was cut short. A failure is logged: everything that uses the disk comes by here again, or
 * refuses then.
 * @param vm left out, no VMM may have the disk open
 */
export async function settleDisk(context: Parts, instance: Instance, vm?: Vm, signal?: AbortSignal): Promise<void> {
  const { id } = instance;
  try {
    await context.disks.of(instance).settle(context.paths.instance(id), await vm?.diskFile(signal));
  } catch (error) {
    context.logger.error({ instance: id, error: messageOf(error) }, 'the layers of a disk could not be settled');
  }
}

/** Layers that are laid at rest are also for those hypervisors alone that go on from them. */
export const hasLayers = ({ driver }: Pick<Instance, 'driver'>): boolean => DRIVER_CAPABILITIES[driver].diskLayers;
