import type { Context } from './context.js';
import { Operation } from './operation.js';

/** Removes a snapshot. What was forked from it shares its pages by inode, not by name, and lives on. */
export async function deleteSnapshot(context: Context, reference: string, signal: AbortSignal): Promise<void> {
  const { snapshots, snapshotFiles, sealer } = context;
  const { id } = snapshots.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  snapshots.resolve(id);
  await using operation = Operation.begin(context, 'delete-snapshot', undefined, undefined);
  await sealer.forget(id);
  // The row before the folder: a daemon killed in between sweeps a folder that nobody knows.
  operation.recordRows(
    () => {
      snapshots.delete(id);
    },
    { answer: undefined },
  );
  await snapshotFiles.remove(id);
  operation.reached('remove folder');
  context.mailboxIndexes.forget(context.paths.snapshot(id));
}
