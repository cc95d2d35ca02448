import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Timeout, errnoOf } from '@offshoot/shared/errors.js';
import { tryPatiently, type Patience } from './patience.js';

/** The block devices of volumes, which udev makes and names some time after ZFS has made the volume. */
export class ZvolDevices {
  constructor(
    private readonly patience: Patience,
    /** Where udev names them by their datasets. */
    private readonly directory = '/dev/zvol',
  ) {}

  pathOf(dataset: string): string {
    return join(this.directory, dataset);
  }

  /** The dataset whose device has this path; undefined where it is no such path. */
  datasetOf(path: string): string | undefined {
    return path.startsWith(`${this.directory}/`) ? path.slice(this.directory.length + 1) : undefined;
  }

  /** Waits until it can be opened. @returns its path @throws Timeout */
  async ready(dataset: string, signal?: AbortSignal): Promise<string> {
    const path = this.pathOf(dataset);
    const there = await tryPatiently(this.patience, () => isThere(path), signal);
    if (there !== undefined) return path;
    const seconds = (this.patience.tries * this.patience.ms) / 1000;
    throw new Timeout(`the device ${path} did not appear within ${String(seconds)} s: is udev running?`, {
      reason: 'DISK_DEVICE_MISSING',
      metadata: { path },
    });
  }
}

async function isThere(path: string): Promise<true | undefined> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
