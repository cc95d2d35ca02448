import type { SnapshotId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { CapturePaths } from '../paths.js';
import type { Context } from './context.js';

type Parts = Pick<Context, 'disks' | 'files' | 'snapshotFiles' | 'paths'>;
type Owner = Pick<Instance, 'name' | 'storage'>;

// The disk goes first: where it is not in the folder, that alone says where.

/** Removes the disk and the folder of an instance; missing is success. @throws as DiskStorages.destroy */
export async function removeInstanceFiles({ disks, files, paths }: Parts, instance: Instance): Promise<void> {
  await disks.destroy(instance, paths.instance(instance.id));
  await files.remove(instance.id);
}

/** The same for files that were to take the place of an instance's own. */
export async function removeNextFiles({ disks, files, paths }: Parts, instance: Instance): Promise<void> {
  await disks.destroy(instance, paths.instance(instance.id).next);
  await files.removeNext(instance.id);
}

/** The same for a capture that belongs to no instance. @param source what it was taken of */
export async function removeCapture({ disks, files }: Parts, source: Owner, folder: CapturePaths): Promise<void> {
  await disks.destroy(source, folder);
  await files.removeCapture(folder);
}

/** The same for a snapshot, staged or published. @param owner itself, or the instance it is taken of */
export async function removeSnapshotFiles(
  { disks, snapshotFiles, paths }: Parts,
  owner: Owner,
  id: SnapshotId,
): Promise<void> {
  for (const folder of [snapshotFiles.staged(id), paths.snapshot(id)]) await disks.destroy(owner, folder);
  await snapshotFiles.remove(id);
}
