import { messageOf } from '@offshoot/shared/errors.js';
import { assertAllowed } from '../domain/instance-state.js';
import type { Context } from './context.js';
import { changed, save } from './instance-record.js';
import { Operation } from './operation.js';
import { removeInstanceFiles } from './remove-files.js';
import { killVm } from './running-instances.js';

/** Removes an instance with everything of it. Forks share its pages by inode, not by name, and live on. */
export async function deleteInstance(
  context: Context,
  reference: string,
  force: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { id } = context.store.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  const instance = context.store.resolve(id);
  assertAllowed(force ? 'forceDelete' : 'delete', instance.name, instance.state);
  await using operation = Operation.begin(context, 'delete-instance', id, undefined);
  const running = context.running.remove(id);
  if (running !== undefined) await killVm(running);
  operation.reached('end hypervisor');
  await context.merger.forget(id); // or a file would appear in the folder that is being removed
  // The folder before the row: a daemon killed in between finds a row without a folder, and drops it.
  try {
    await removeInstanceFiles(context, instance);
  } catch (error) {
    // Its hypervisor has gone; it can be deleted again once what kept it from it is away.
    if (running !== undefined)
      await save(context, changed(instance, 'FAILED', { vmm: undefined, stateReason: messageOf(error) }), {
        durable: true,
      });
    throw error;
  }
  operation.reached('remove folder');
  context.mailboxIndexes.forget(context.paths.instance(id));
  operation.recordGone(id);
  context.images.release(instance.imageId);
}
