import { join } from 'node:path';
import { Timeout } from '@offshoot/shared/errors.js';
import { zvolNameOf } from '../../os/zvol-name.js';
import { tryPatiently, type Patience } from './patience.js';

/** Where devices are, and what they are. */
export interface DeviceNames {
  /** Where udev names them by their datasets. */
  readonly directory: string;
  /** The volume that has this device; undefined where there is none. */
  nameOf(path: string): Promise<string | undefined>;
}

export const ZVOL_DEVICES: DeviceNames = { directory: '/dev/zvol', nameOf: zvolNameOf };

/** The block devices of volumes, which udev makes and names some time after ZFS has made the volume. */
export class ZvolDevices {
  constructor(
    private readonly patience: Patience,
    private readonly names: DeviceNames,
  ) {}

  pathOf(dataset: string): string {
    return join(this.names.directory, dataset);
  }

  /** The dataset whose device has this path; undefined where it is no such path. */
  datasetOf(path: string): string | undefined {
    const { directory } = this.names;
    return path.startsWith(`${directory}/`) ? path.slice(directory.length + 1) : undefined;
  }

  /**
   * Waits until it can be opened, and is the volume's: the link of one that went can still be there, and the kernel has given the
   * device it leads to to another.
   * @returns its path @throws Timeout
   */
  async ready(dataset: string, signal?: AbortSignal): Promise<string> {
    const path = this.pathOf(dataset);
    const isReady = async () => ((await this.names.nameOf(path)) === dataset ? true : undefined);
    if ((await tryPatiently(this.patience, isReady, signal)) === true) return path;
    const seconds = (this.patience.tries * this.patience.ms) / 1000;
    throw new Timeout(`the device ${path} did not appear within ${String(seconds)} s: is udev running?`, {
      reason: 'DISK_DEVICE_MISSING',
      metadata: { path },
    });
  }
}
