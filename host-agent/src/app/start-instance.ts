import { assertAllowed } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import { assertFreeBytes } from '../os/disk-space.js';
import { BOOT_MARGIN_BYTES, bootInstance } from './boot.js';
import type { Context } from './context.js';
import { usableDriver } from './drivers.js';
import { Operation } from './operation.js';

/** Boots a stopped or failed instance from its own disk. On failure it is as it was. */
export async function startInstance(
  context: Context,
  reference: string,
  signal: AbortSignal,
): Promise<{ instance: Instance; bootMs: number }> {
  const started = performance.now();
  const { id } = context.store.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  const stopped = context.store.resolve(id);
  assertAllowed('start', stopped.name, stopped.state);
  const driver = await usableDriver(context, stopped.driver, signal);
  context.disks.assertHere(stopped);
  const image = await context.images.resolve(stopped.imageId);
  await assertFreeBytes(context.paths.root, stopped.memoryBytes + BOOT_MARGIN_BYTES, 'booting this instance');
  using _memory = context.memory.book([stopped.memoryBytes], 'booting this instance');
  await using operation = Operation.begin(context, 'start-instance', id, signal);
  // A failed one may have left its memory; a guest must not find another life's mailboxes in its own.
  await context.files.dropCapture(id);
  operation.reached('drop memory');
  const workload = await context.files.loadWorkload(id);
  const answerOf = (instance: Instance) => ({ instance, bootMs: performance.now() - started });
  const order = { instance: stopped, image, driver, workload, answerOf };
  return await bootInstance(context, order, operation, signal);
}
