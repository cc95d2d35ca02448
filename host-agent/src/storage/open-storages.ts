import { open } from 'node:fs/promises';
import type { StorageName } from '../domain/storage-name.js';
import { filesystemTypeOf } from '../os/filesystem-type.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import { Qcow2Disks } from './qcow2-disks.js';
import { RawDisks } from './raw-disks.js';
import { canReflink } from './reflink-probe.js';

export interface OpenedStorages {
  /** Best ones first. */
  readonly here: readonly DiskStorage[];
  /** Why the others are not. */
  readonly missing: ReadonlyMap<StorageName, string>;
}

/**
 * The disk storages that this state directory has, found out by trying: the probe of the storage port.
 * @param zfsDataset empty for none; one that is named has to be there
 * @param zfs opens it, and may throw
 */
export async function openStorages(
  stateDirectory: string,
  zfsDataset: string,
  zfs: (dataset: string) => Promise<DiskStorage>,
): Promise<OpenedStorages> {
  const reflinks = await canReflink(stateDirectory);
  const missing = new Map<StorageName, string>();
  if (!reflinks) missing.set('reflink', `${stateDirectory} is on ${await typeOf(stateDirectory)}, without reflinks`);
  if (zfsDataset === '') missing.set('zfs', 'storage.zfs_dataset is not set');
  return {
    here: [
      ...(zfsDataset === '' ? [] : [await zfs(zfsDataset)]),
      new Qcow2Disks(reflinks),
      ...(reflinks ? [new RawDisks('reflink')] : []),
      // Also where there are reflinks: of a state directory that was elsewhere before.
      new RawDisks('sparse'),
    ],
    missing,
  };
}

async function typeOf(directory: string): Promise<string> {
  await using handle = await open(directory, 'r');
  return filesystemTypeOf(handle.fd);
}
