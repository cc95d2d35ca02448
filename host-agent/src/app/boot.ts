import { Timeout } from '@offshoot/shared/errors.js';
import type { Instance } from '../domain/instance.js';
import type { BootStep } from '../domain/operations.js';
import type { HypervisorDriver } from '../ports/driver.js';
import type { WorkloadSpec } from '../ports/guest-link.js';
import type { Image } from '../ports/image-store.js';
import type { Context } from './context.js';
import { withConsoleTail } from './failure.js';
import { machineIdOf } from './handoffs/fork-identity.js';
import { thaw } from './held-guest.js';
import { changed } from './instance-record.js';
import { machineSpec } from './machine-spec.js';
import type { Operation } from './operation.js';
import { closeLink } from './running-instances.js';

/** Room for the disk layer, device state and logs beside the memory, in bytes. */
export const BOOT_MARGIN_BYTES = 64 * 2 ** 20;

/**
 * Boots an instance from the disk in its folder, waits for its agent, starts its workload, and makes it RUNNING, which is
 * the end of the operation. Undone, no VMM and no memory are left; the folder and the row are the caller's.
 */
export async function bootInstance<Answer>(
  context: Context,
  { instance, image, driver, workload, answerOf }: BootOrder<Answer>,
  operation: Operation<BootStep>,
  signal: AbortSignal,
): Promise<Answer> {
  const paths = context.paths.instance(instance.id);
  await context.disks.of(instance).attach(paths, signal);
  using nic = context.network.attach(instance.network, driver.tapKind);
  const { ipv4, prefixLength, gateway } = instance.network;
  operation.push('remove memory', () => context.files.dropCapture(instance.id));
  const vm = await driver.launch(
    {
      ...machineSpec(instance, paths, nic.backend),
      kernel: {
        vmlinuz: image.vmlinuz,
        vmlinux: image.vmlinux,
        initrd: image.initrd,
        commandLine: `${image.kernelParameters} offshoot.ipv4=${ipv4}/${String(prefixLength)} offshoot.gateway=${gateway} offshoot.hostname=${instance.name} offshoot.machine_id=${machineIdOf(instance.id)}`,
      },
    },
    signal,
  );
  operation.push('end hypervisor', () => vm.kill());
  nic.passTo(vm.process.pid);
  operation.reached('launch');
  const running = await context.running.openLink(vm, instance, paths, { beginAt: 0 }, signal);
  operation.push('close link', () => closeLink(running));
  operation.reached('link');

  const bootLimit = AbortSignal.timeout(context.limits.bootMs);
  const bootSignal = AbortSignal.any([signal, bootLimit]);
  try {
    const agent = await running.link.hello(bootSignal);
    operation.reached('hello');
    // Gives it its credential, and sets the clock, which the emulated hardware only keeps to the second.
    await thaw(running, instance.name, context.logger);
    if (workload !== undefined) await running.link.startWorkload(workload, bootSignal);
    operation.reached('workload');
    const booted = changed(instance, 'RUNNING', {
      vmm: vm.process,
      agent,
      identityPending: undefined,
      stateReason: '',
    });
    const answer = answerOf(booted);
    await operation.record(booted, { durable: true, before: instance, answer });
    operation.release();
    context.running.add(booted.id, running);
    return answer;
  } catch (error) {
    const late = bootLimit.aborted && !signal.aborted;
    throw await withConsoleTail(late ? bootTimeout(context, instance, error) : error, paths);
  }
}

export interface BootOrder<Answer> {
  readonly instance: Instance;
  readonly image: Image;
  readonly driver: HypervisorDriver;
  readonly workload: WorkloadSpec | undefined;
  /** What the caller is answered, of the instance that runs. */
  readonly answerOf: (instance: Instance) => Answer;
}

const bootTimeout = ({ limits }: Context, { name }: Instance, cause: unknown): Timeout =>
  new Timeout(`the agent of ${name} did not answer within ${String(limits.bootMs / 1000)} s of boot`, {
    reason: 'BOOT_TIMEOUT',
    cause,
  });
