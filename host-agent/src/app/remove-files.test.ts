import { beforeEach, describe, expect, it } from 'vitest';
import { mintInstanceId, mintSnapshotId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import { CapturePaths, StatePaths } from '../paths.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import type { InstanceFiles } from '../ports/instance-files.js';
import type { SnapshotFiles } from '../ports/snapshot-files.js';
import { DiskStorages } from './disk-storages.js';
import { removeCapture, removeInstanceFiles, removeNextFiles, removeSnapshotFiles } from './remove-files.js';

describe('what is removed with its disk', () => {
  let done: string[];
  let inUse: boolean;
  beforeEach(() => {
    [done, inUse] = [[], false];
  });
  const note = (what: string): Promise<void> => Promise.resolve(void done.push(what));
  const zfs = {
    name: 'zfs',
    destroy: ({ root }) => (inUse ? Promise.reject(new Error('in use')) : note(`disk ${root}`)),
  } as Partial<DiskStorage> as DiskStorage;
  const paths = new StatePaths('/state');
  const context = {
    paths,
    disks: new DiskStorages([zfs]),
    files: {
      remove: (id) => note(`folder ${id}`),
      removeNext: (id) => note(`next of ${id}`),
      removeCapture: ({ root }) => note(`folder ${root}`),
    } as Partial<InstanceFiles> as InstanceFiles,
    snapshotFiles: {
      staged: (id) => new CapturePaths(`/state/snapshots/.new-${id}`, id),
      remove: (id) => note(`folder ${id}`),
    } as Partial<SnapshotFiles> as SnapshotFiles,
  };
  const id = mintInstanceId();
  const instance = { id, name: 'vm', storage: 'zfs' } as Instance;

  it('loses the disk first: its folder says where it is', async () => {
    await removeInstanceFiles(context, instance);
    await removeNextFiles(context, instance);
    await removeCapture(context, instance, paths.capture('c'));
    expect(done).toEqual([
      `disk /state/instances/${id}`,
      `folder ${id}`,
      `disk /state/instances/${id}/next`,
      `next of ${id}`,
      'disk /state/captures/c',
      'folder /state/captures/c',
    ]);
  });

  it('loses it wherever the snapshot had come to', async () => {
    const snapshot = mintSnapshotId();
    await removeSnapshotFiles(context, instance, snapshot);
    expect(done).toEqual([
      `disk /state/snapshots/.new-${snapshot}`,
      `disk /state/snapshots/${snapshot}`,
      `folder ${snapshot}`,
    ]);
  });

  it('stays whole where the disk cannot go', async () => {
    inUse = true;
    await expect(removeInstanceFiles(context, instance)).rejects.toThrow('in use');
    await expect(removeSnapshotFiles(context, instance, mintSnapshotId())).rejects.toThrow('in use');
    expect(done).toEqual([]);
  });
});
