import { linkSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { execa } from 'execa';
import { Unsupported, errnoOf } from '@offshoot/shared/errors.js';
import { sparseCopy } from '../os/sparse-copy.js';
import type { CapturePaths } from '../paths.js';
import type { DiskClone, DiskStorage } from '../ports/disk-storage.js';
import { layersOf, prepareLayer, settleDisk } from './disk-layers.js';
import { worthLayer } from './layer-policy.js';

/**
 * Each instance's disk is a qcow2 layer over the image's read-only root disk: made in no time, and its clone is as large
 * as what the instance itself wrote since its last layer. All instances of an image share its pages in the page cache.
 */
export class Qcow2Disks implements DiskStorage {
  readonly name = 'overlay';

  constructor(
    /** Whether the filesystem clones a file of any size at once; layers are then of no use. */
    readonly reflinks: boolean,
    private readonly qemuImg = 'qemu-img',
  ) {}

  async create(imageDisk: string, folder: CapturePaths, signal?: AbortSignal): Promise<void> {
    const disk = folder.disk('qcow2');
    try {
      // An absolute path is the one form of a backing name that means the same to every hypervisor, and QEMU looks for the
      // name of a protocol before the first slash only. lazy_refcounts would need a repair after a kill: off.
      await execa(this.qemuImg, ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', imageDisk, disk], {
        ...(signal === undefined ? {} : { cancelSignal: signal }),
        stdin: 'ignore',
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new Unsupported(`${this.qemuImg} is not installed: install the package qemu-utils`, {
        reason: 'PROGRAM_MISSING',
        metadata: { program: this.qemuImg },
        cause: error,
      });
    }
  }

  async clone(source: CapturePaths, destination: CapturePaths, signal?: AbortSignal): Promise<DiskClone> {
    const started = performance.now();
    const layers = layersOf(source);
    for (const name of layers) linkUnlessThere(source.layer(name), destination.layer(name));
    const { reflinked, copiedBytes } = await sparseCopy(source.disk('qcow2'), destination.disk('qcow2'), signal);
    return { reflinked, copiedBytes, layers: layers.length, ms: performance.now() - started };
  }

  async needsLayer(folder: CapturePaths): Promise<boolean> {
    if (this.reflinks) return false;
    const { blocks } = await stat(folder.disk('qcow2'));
    const bytes = blocks * 512; // stat(2) counts in these, whatever the filesystem's own blocks are
    return bytes >= worthLayer(0) && bytes >= worthLayer(layersOf(folder).length);
  }

  prepareLayer(folder: CapturePaths): Promise<string> {
    return prepareLayer(folder);
  }

  settle(folder: CapturePaths, openFile?: string): Promise<void> {
    return settleDisk(folder, openFile);
  }
}

/** A layer's name says which file it is: one that is there is the same. */
function linkUnlessThere(existing: string, name: string): void {
  try {
    linkSync(existing, name);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
}
