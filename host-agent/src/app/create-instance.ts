import type { Instance } from '../domain/instance.js';
import { assertFreeBytes } from '../os/disk-space.js';
import { BOOT_MARGIN_BYTES, bootInstance } from './boot.js';
import type { CreateInstanceCommand } from './commands.js';
import type { Context } from './context.js';
import { usableDriver } from './drivers.js';
import { injectedFiles } from './injected-files.js';
import { reserveInstance } from './new-instance.js';
import { Operation } from './operation.js';
import { removeInstanceFiles } from './remove-files.js';
import { createOwnDisk, diskBytesOf, roomForOwnDisk } from './own-disk.js';
import { workloadOf } from './workload-of.js';

/** Boots an instance and waits for its agent; on any failure nothing of it is left. */
export async function createInstance(
  context: Context,
  command: CreateInstanceCommand,
  signal: AbortSignal,
): Promise<{ instance: Instance; bootMs: number }> {
  const started = performance.now();
  const driver = await usableDriver(context, command.driver, signal);
  const storage = context.disks.choose(driver);
  const image = await context.images.resolve(command.image);
  const diskBytes = diskBytesOf(image, command);
  const files = injectedFiles(command.injection);
  // A memory file that cannot grow kills the VM with SIGBUS in mid-run: refuse before any work. It grows once the disk is made.
  const disk = await roomForOwnDisk(context, image, {
    name: command.name ?? 'this instance',
    storage,
    diskBytes,
    files,
  });
  const needed = Math.max(disk.working, disk.kept + command.memoryBytes) + BOOT_MARGIN_BYTES;
  await assertFreeBytes(context.paths.root, needed, 'making and booting this instance');
  using _memory = context.memory.book([command.memoryBytes], 'booting this instance');

  await using operation = Operation.begin(context, 'create-instance', undefined, signal);
  const { name, labels, vcpus, memoryBytes } = command;
  const workload = workloadOf(image, command.workload, command.injection.env);
  const draft = { name, labels, imageId: image.id, driver: driver.name, storage, vcpus, memoryBytes, diskBytes };
  operation.push('let go of the image', () => {
    context.images.release(image.id);
  });
  const reserved = reserveInstance(context, draft, operation);
  context.images.use(image.id);
  operation.reserved(reserved.id);
  operation.push('remove folder', () => removeInstanceFiles(context, reserved));
  await context.files.create(reserved);
  if (workload !== undefined) await context.files.saveWorkload(reserved.id, workload);
  operation.reached('folder');
  await createOwnDisk(context, reserved, image, files, signal);
  operation.reached('disk');
  const answerOf = (instance: Instance) => ({ instance, bootMs: performance.now() - started });
  const order = { instance: reserved, image, driver, workload, answerOf };
  return await bootInstance(context, order, operation, signal);
}
