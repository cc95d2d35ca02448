import { execa } from 'execa';
import { Unsupported, errnoOf } from '@offshoot/shared/errors.js';
import { sparseCopy } from '../os/sparse-copy.js';
import type { DiskStorage } from '../ports/disk-storage.js';

/**
 * Each instance's disk is a qcow2 layer over the image's read-only root disk: made in no time, and its clone is as large
 * as what the instance itself wrote. All instances of an image share its pages in the page cache.
 */
export class Qcow2Disks implements DiskStorage {
  constructor(private readonly qemuImg = 'qemu-img') {}

  async create(imageDisk: string, destination: string, signal?: AbortSignal): Promise<void> {
    const backing = JSON.stringify({ driver: 'raw', file: { driver: 'file', filename: imageDisk } });
    try {
      // A json: backing name has no special characters to escape. lazy_refcounts would need a repair after a kill: off.
      await execa(this.qemuImg, ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', `json:${backing}`, destination], {
        ...(signal === undefined ? {} : { cancelSignal: signal }),
        stdin: 'ignore',
      });
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new Unsupported(`${this.qemuImg} is not installed: install the package qemu-utils`, {
        reason: 'PROGRAM_MISSING',
        metadata: { program: this.qemuImg },
        cause: error,
      });
    }
  }

  async clone(source: string, destination: string, signal?: AbortSignal): Promise<void> {
    await sparseCopy(source, destination, signal);
  }
}
