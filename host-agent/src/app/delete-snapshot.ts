import type { Context } from './context.js';
import { Operation } from './operation.js';
import { removeSnapshotFiles } from './remove-files.js';

/** Removes a snapshot. What was forked from it shares its pages by inode, not by name, and lives on. */
export async function deleteSnapshot(context: Context, reference: string, signal: AbortSignal): Promise<void> {
  const { snapshots, sealer } = context;
  const { id } = snapshots.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  const snapshot = snapshots.resolve(id);
  await using operation = Operation.begin(context, 'delete-snapshot', undefined, undefined);
  await sealer.forget(id);
  // The row before the files: a daemon killed in between sweeps what nobody knows. One whose disk cannot be removed stays.
  operation.recordRows(
    () => {
      snapshots.delete(id);
    },
    {
      answer: undefined,
      undo: () => {
        snapshots.insert(snapshot);
      },
    },
  );
  await removeSnapshotFiles(context, snapshot, id);
  operation.release();
  operation.reached('remove folder');
  context.images.release(snapshot.imageId);
  context.mailboxIndexes.forget(context.paths.snapshot(id));
}
