import type { Context } from './context.js';

/** Removes a snapshot. What was forked from it shares its pages by inode, not by name, and lives on. */
export async function deleteSnapshot(context: Context, reference: string, signal: AbortSignal): Promise<void> {
  const { snapshots, snapshotFiles, sealer } = context;
  const { id } = snapshots.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  snapshots.resolve(id);
  await sealer.forget(id);
  // The folder before the row: a daemon killed in between finds a row without a folder, and drops it.
  await snapshotFiles.remove(id);
  context.mailboxIndexes.forget(context.paths.snapshot(id));
  snapshots.delete(id);
}
