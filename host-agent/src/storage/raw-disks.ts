import { chmod } from 'node:fs/promises';
import { copyExtents, sparseCopy, type CopyCost } from '../os/sparse-copy.js';
import type { CapturePaths } from '../paths.js';
import type { DiskClone, DiskStorage } from '../ports/disk-storage.js';

/** How one file becomes another in each. */
const COPIES = { reflink: sparseCopy, sparse: copyExtents } as const satisfies Record<
  string,
  (source: string, destination: string, signal?: AbortSignal) => Promise<CopyCost>
>;

/**
 * Each instance's disk is a raw file of its own: what every hypervisor reads. It is a copy that shares the image's blocks, or
 * has copies of those that hold data. An image on another filesystem than the disks is copied by its data in either case.
 */
export class RawDisks implements DiskStorage {
  constructor(readonly name: keyof typeof COPIES) {}

  async create(imageDisk: string, folder: CapturePaths, signal?: AbortSignal): Promise<void> {
    const disk = folder.disk('raw');
    await COPIES[this.name](imageDisk, disk, signal);
    await chmod(disk, 0o600); // the image's own mode lets nobody write
  }

  async clone(source: CapturePaths, destination: CapturePaths, signal?: AbortSignal): Promise<DiskClone> {
    const started = performance.now();
    const cost = await COPIES[this.name](source.disk('raw'), destination.disk('raw'), signal);
    return { ...cost, layers: 0, ms: performance.now() - started };
  }

  needsLayer(): Promise<boolean> {
    return Promise.resolve(false);
  }

  prepareLayer({ root }: CapturePaths): Promise<never> {
    return Promise.reject(new Error(`the disk in ${root} is a raw one, which has no layers`));
  }

  settle(): Promise<void> {
    return Promise.resolve();
  }
}
