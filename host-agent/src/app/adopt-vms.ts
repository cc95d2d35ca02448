import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '@offshoot/shared/errors.js';
import PQueue from 'p-queue';
import type { Instance } from '../domain/instance.js';
import type { OperationName } from '../domain/operations.js';
import type { Vm } from '../ports/driver.js';
import type { Context } from './context.js';
import { settleDisk } from './disk-layer.js';
import { endVmms } from './end-vmms.js';
import { changed, save } from './instance-record.js';
import { machineFiles } from './machine-spec.js';
import { closeLink } from './running-instances.js';

/**
 * How long a VMM may take to answer a new daemon. One that takes longer is ended, guest and all, so it is long: a host is
 * crowded when everything on it starts again.
 */
const ADOPT_MS = 20_000;
/** VMMs that are asked at the same time: each answers a dozen questions, one after the other. */
const AT_ONCE = 16;

type Parts = Pick<Context, 'drivers' | 'running' | 'disks' | 'store' | 'files' | 'paths' | 'orphans' | 'logger'>;

/**
 * Takes over the VMs that run since before this daemon did, or records that they do no more. Their guests hear nothing of it: some
 * hundred that woke at once would take the processor from all of this; see {@link greetGuests}.
 * @param cutShort what the daemon before did with an instance and had not ended
 * @returns those that were taken over
 */
export async function adoptVms(
  context: Parts,
  instances: readonly Instance[],
  cutShort: (instance: Instance) => readonly OperationName[],
): Promise<readonly Instance[]> {
  const queue = new PQueue({ concurrency: AT_ONCE });
  const adopted = await queue.addAll(
    instances.map((instance) => async () => ({
      instance,
      isAdopted: await adopt(context, instance, cutShort(instance)),
    })),
  );
  return adopted.filter(({ isAdopted }) => isAdopted).map(({ instance }) => instance);
}

/** @returns whether the VM was taken over */
async function adopt(context: Parts, instance: Instance, cutShort: readonly OperationName[]): Promise<boolean> {
  const { logger } = context;
  const signal = AbortSignal.timeout(ADOPT_MS);
  const paths = context.paths.instance(instance.id);
  try {
    const driver = context.drivers.get(instance.driver);
    const vm =
      instance.vmm === undefined ? undefined : await driver?.adopt(instance.vmm, machineFiles(instance, paths), signal);
    if (vm !== undefined) {
      const running = await context.running.attachLink(vm, instance, paths);
      try {
        await settle(context, instance, vm, { isCutShort: cutShort.length > 0, signal });
      } catch (error) {
        await closeLink(running);
        throw error;
      }
      context.running.add(instance.id, running);
      logger.info({ instance: instance.id, name: instance.name, pid: vm.process.pid }, 'took over a running VM');
      return true;
    }
    // One that was being stopped and has no VMM is stopped.
    if (cutShort.includes('stop-instance')) {
      await save(context, changed(instance, 'STOPPED', { vmm: undefined, stateReason: '' }), { durable: true });
      await context.files.dropCapture(instance.id);
    } else await fail(context, instance, 'the hypervisor ended while no daemon ran');
  } catch (error) {
    logger.error({ instance: instance.id, error: messageOf(error) }, 'a running VM could not be taken over');
    await fail(context, instance, `the hypervisor could not be taken over: ${messageOf(error)}`);
  }
  await endVmms(context, [instance.id]);
  await settleDisk(context, instance);
  return false;
}

/** Brings disk, VM and record to where the row says that the instance is. */
async function settle(
  context: Parts,
  instance: Instance,
  vm: Vm,
  { isCutShort, signal }: { readonly isCutShort: boolean; readonly signal: AbortSignal },
): Promise<void> {
  await settleDisk(context, instance, vm, signal);
  // The daemon may have been killed in the middle of a capture, with the VM paused and in the hands of another VMM.
  if (instance.state === 'RUNNING') await vm.resume(signal);
  else if ((await vm.state(signal)) === 'running') await vm.pause(signal);
  // The row may have come further than the folder's record.
  if (isCutShort || !isDeepStrictEqual(vm.process, instance.vmm))
    await save(context, changed(instance, instance.state, { vmm: vm.process }), { durable: false });
}

async function fail(context: Parts, instance: Instance, reason: string): Promise<void> {
  await save(context, changed(instance, 'FAILED', { vmm: undefined, stateReason: reason }), { durable: true });
}
