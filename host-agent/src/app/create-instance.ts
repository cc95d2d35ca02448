import { Timeout } from '@offshoot/shared/errors.js';
import { assertFreeBytes } from '../os/disk-space.js';
import type { Instance } from '../domain/instance.js';
import type { CreateInstanceCommand } from './commands.js';
import type { Context } from './context.js';
import { usableDriver } from './drivers.js';
import { withConsoleTail } from './failure.js';
import { changed, save } from './instance-record.js';
import { machineSpec } from './machine-spec.js';
import { reserveInstance } from './new-instance.js';
import { closeLink } from './running-instances.js';
import { UndoStack } from './undo-stack.js';

/** Room for the disk layer, device state and logs beside the memory, in bytes. */
const DISK_MARGIN_BYTES = 64 * 2 ** 20;

/** Boots an instance and waits for its agent; on any failure nothing of it is left. */
export async function createInstance(
  context: Context,
  command: CreateInstanceCommand,
  signal: AbortSignal,
): Promise<{ instance: Instance; bootMs: number }> {
  const started = performance.now();
  const driver = await usableDriver(context, command.driver, signal);
  const image = await context.images.resolve(command.image);
  // A memory file that cannot grow kills the VM with SIGBUS in mid-run: refuse before any work.
  await assertFreeBytes(context.paths.root, command.memoryBytes + DISK_MARGIN_BYTES, 'booting this instance');

  await using undo = new UndoStack(context.logger);
  const reserved = reserveInstance(
    context,
    {
      name: command.name,
      labels: command.labels,
      imageId: image.id,
      driver: driver.name,
      vcpus: command.vcpus,
      memoryBytes: command.memoryBytes,
    },
    undo,
  );
  const paths = context.paths.instance(reserved.id);
  undo.push('remove folder', () => context.files.remove(reserved.id));
  await context.files.create(reserved);
  await context.disks.create(image.rootDisk, paths.disk, signal);

  using nic = context.network.attach(reserved.network);
  const { ipv4, prefixLength, gateway } = reserved.network;
  const vm = await driver.launch(
    {
      ...machineSpec(reserved, paths, nic.backend),
      kernel: {
        vmlinuz: image.vmlinuz,
        initrd: image.initrd,
        commandLine: `${image.kernelParameters} offshoot.ipv4=${ipv4}/${String(prefixLength)} offshoot.gateway=${gateway} offshoot.hostname=${reserved.name}`,
      },
    },
    signal,
  );
  undo.push('end hypervisor', () => vm.kill());
  const running = await context.running.openLink(vm, reserved, paths, 0, signal);
  undo.push('close link', () => closeLink(running));

  const bootLimit = AbortSignal.timeout(context.limits.bootMs);
  const bootSignal = AbortSignal.any([signal, bootLimit]);
  try {
    const agent = await running.link.hello(bootSignal);
    if (command.workload !== undefined) await running.link.startWorkload(command.workload, bootSignal);
    signal.throwIfAborted();
    const instance = changed(reserved, 'RUNNING', { vmm: vm.process, agent });
    await save(context, instance, { durable: true });
    undo.release();
    context.running.add(instance.id, running);
    return { instance, bootMs: performance.now() - started };
  } catch (error) {
    const late = bootLimit.aborted && !signal.aborted;
    throw await withConsoleTail(
      late
        ? new Timeout(
            `the agent of ${reserved.name} did not answer within ${String(context.limits.bootMs / 1000)} s of boot`,
            {
              reason: 'BOOT_TIMEOUT',
              cause: error,
            },
          )
        : error,
      paths,
    );
  }
}
