import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LocalImageStoreOptions } from '../local-image-store.js';
import { LAYOUT_VERSION } from '../image-record.js';

const FILES = { rootDisk: 'rootfs.ext4', vmlinuz: 'vmlinuz', vmlinux: 'vmlinux', initrd: 'initrd' } as const;

/** What an image is that tests place; sizes in bytes, of the root disk. */
export interface ImageOfTest {
  readonly id: string;
  readonly createdAt: string;
  readonly name?: string;
  readonly diskBytes?: number;
}

/** A finished image of nearly no bytes, unless it is to have more. @returns its folder */
export async function placeImageOfTest(
  directory: string,
  { id, createdAt, name = 'default', diskBytes = 11 }: ImageOfTest,
): Promise<string> {
  const path = join(directory, id);
  await mkdir(path, { recursive: true });
  for (const file of Object.values(FILES)) await writeFile(join(path, file), file);
  await writeFile(join(path, FILES.rootDisk), Buffer.alloc(diskBytes, 1));
  const record = {
    layout: LAYOUT_VERSION,
    id,
    name,
    kernelRelease: '6',
    kernelParameters: 'rw',
    createdAt,
    bytes: { rootDisk: diskBytes, vmlinuz: 7, vmlinux: 7, initrd: 6 },
    inputs: {},
  };
  await writeFile(join(path, 'image.json'), JSON.stringify(record));
  return path;
}

/** Of a daemon that has nothing and lets images grow. */
export const NO_KEEPING: Pick<LocalImageStoreOptions, 'stateDirectory' | 'maxBytes' | 'ownUsersOf' | 'disks'> = {
  stateDirectory: '/nonexistent',
  maxBytes: 0,
  ownUsersOf: () => ({ instances: [], snapshots: [] }),
  disks: { forgetImage: () => Promise.resolve(), sweepImages: () => Promise.resolve([]) },
};
