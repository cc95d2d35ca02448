import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import { execaSync } from 'execa';
import { DISK_FORMATS } from '../../domain/storage-name.js';
import { MountLab, missingFor, type LabFilesystem } from '../../os/testing/mount-lab.js';
import type { DiskStorage } from '../../ports/disk-storage.js';

/** A storage on a machine of its own, as far as a test can tell. */
export interface StorageLab extends AsyncDisposable {
  readonly storage: DiskStorage;
  /** Where the folders with disks go. */
  readonly root: string;
  /** Where images are: on another filesystem, which has room. */
  readonly images: string;
  /** Takes all the room that disks have left, until it is disposed of. */
  fill(): Promise<AsyncDisposable>;
  /** Until what was written counts as used. */
  sync(): Promise<void>;
  /** Disks and parts of them that lie in no folder, by name. */
  elsewhere(): Promise<readonly string[]>;
}

export interface StorageSubject {
  readonly title: string;
  /** What it needs and is not here; empty when nothing is missing. */
  readonly missing: string;
  /** Whether each of its commands takes seconds, so that tests have longer and only some of all orders are tried. */
  readonly isSlow?: boolean;
  open(): Promise<StorageLab>;
}

/** A storage that keeps disks as files, on a filesystem of this type. */
export const onFilesystem = (storage: DiskStorage, type: LabFilesystem): StorageSubject => ({
  title: `${storage.name} on ${type}`,
  missing: missingFor(type) || missingProgram(storage),
  open: async () => {
    const mounts = await MountLab.open();
    try {
      const { path: root } = await mounts.mount(type, type === 'tmpfs' ? 'size=160m' : '');
      const { path: images } = await mounts.mount('tmpfs');
      return {
        storage,
        root,
        images,
        fill: () => fillFilesystem(root),
        sync: () => Promise.resolve(),
        elsewhere: () => Promise.resolve([]),
        [Symbol.asyncDispose]: () => mounts[Symbol.asyncDispose](),
      };
    } catch (error) {
      await mounts[Symbol.asyncDispose]();
      throw error;
    }
  },
});

/** The tests read and write such disks with QEMU's own program. */
function missingProgram({ name }: DiskStorage): string {
  if (DISK_FORMATS[name] !== 'qcow2') return '';
  return execaSync('qemu-io', ['--version'], { reject: false }).failed ? 'qemu-io' : '';
}

/** Less and less at a time, down to the last block. */
export async function fillFilesystem(root: string): Promise<AsyncDisposable> {
  const filler = join(root, 'filler');
  await using file = await open(filler, 'wx');
  for (let bytes = 2 ** 20; bytes >= 512; bytes /= 2) {
    const data = Buffer.alloc(bytes, 1);
    try {
      for (;;) await file.appendFile(data);
    } catch (error) {
      if (errnoOf(error) !== 'ENOSPC') throw error;
    }
  }
  await file.sync().catch(() => undefined);
  return { [Symbol.asyncDispose]: () => rm(filler) };
}
