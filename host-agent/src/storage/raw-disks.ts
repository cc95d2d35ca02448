import { chmod, rm, truncate } from 'node:fs/promises';
import { flushFile } from '../os/flush-file.js';
import { copyExtents, sparseCopy, type CopyCost } from '../os/sparse-copy.js';
import { allocatedBytes, storageUse } from '../os/storage-use.js';
import { DISK_FILES, type CapturePaths } from '../paths.js';
import type {
  DiskClone,
  DiskElsewhere,
  DiskImage,
  DiskPreparation,
  DiskRoom,
  DiskStorage,
} from '../ports/disk-storage.js';
import type { Image } from '../ports/image-store.js';
import type { StorageUse } from '../ports/instance-files.js';
import { copyRoom } from './copy-room.js';
import { WithoutLayers } from './without-layers.js';

/** How one file becomes another in each. */
const COPIES = { reflink: sparseCopy, sparse: copyExtents } as const satisfies Record<
  string,
  (source: string, destination: string, signal?: AbortSignal) => Promise<CopyCost>
>;

/**
 * Each instance's disk is a raw file of its own: what every hypervisor reads. It is a copy that shares the image's blocks, or
 * has copies of those that hold data. An image on another filesystem than the disks is copied by its data in either case.
 */
export class RawDisks extends WithoutLayers implements DiskStorage {
  constructor(readonly name: keyof typeof COPIES) {
    super();
  }

  async create(
    { rootDisk }: DiskImage,
    folder: CapturePaths,
    signal?: AbortSignal,
    preparation?: DiskPreparation,
  ): Promise<void> {
    const disk = folder.disk('raw');
    await COPIES[this.name](rootDisk, disk, signal);
    await chmod(disk, 0o600); // the image's own mode lets nobody write
    if (preparation === undefined) return;
    await truncate(disk, preparation.bytes);
    await preparation.change(disk);
  }

  async roomFor(image: Image, directory: string): Promise<DiskRoom> {
    const bytes = await copyRoom(image, directory, this.name === 'reflink');
    return { working: bytes, kept: bytes };
  }

  roomForClone(source: CapturePaths): Promise<number> {
    return this.name === 'reflink' ? Promise.resolve(0) : allocatedBytes(source.disk('raw'));
  }

  snapshot(disk: CapturePaths, moment: CapturePaths, signal?: AbortSignal): Promise<DiskClone> {
    return this.clone(disk, moment, signal);
  }

  async clone(source: CapturePaths, disk: CapturePaths, signal?: AbortSignal): Promise<DiskClone> {
    const started = performance.now();
    const cost = await COPIES[this.name](source.disk('raw'), disk.disk('raw'), signal);
    return { ...cost, layers: 0, ms: performance.now() - started };
  }

  async destroy(folder: CapturePaths): Promise<void> {
    await rm(folder.disk('raw'), { force: true });
  }

  async flush(folder: CapturePaths): Promise<void> {
    await flushFile(folder.disk('raw'));
  }

  usage(folder: CapturePaths): Promise<StorageUse> {
    return storageUse(folder.root, (name) => name === DISK_FILES.raw);
  }

  attach(): Promise<void> {
    return Promise.resolve();
  }

  settle(): Promise<void> {
    return Promise.resolve();
  }

  /** Disks are made of the image's own file. */
  forgetImage(): Promise<void> {
    return Promise.resolve();
  }

  sweepImages(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  elsewhere(): Promise<readonly DiskElsewhere[]> {
    return Promise.resolve([]);
  }

  discard(): Promise<void> {
    return Promise.resolve();
  }

  /** The disk goes with its folder. */
  sweep(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }
}
