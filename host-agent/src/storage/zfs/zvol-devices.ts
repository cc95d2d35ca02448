import { readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { Timeout } from '@offshoot/shared/errors.js';
import { unlessMissing } from '../../os/unless-missing.js';
import { zvolNameOf } from '../../os/zvol-name.js';
import { tryPatiently, type Patience } from './patience.js';

/** Where devices are, and what they are. */
export interface DeviceNames {
  /** Where udev names them by their datasets. */
  readonly directory: string;
  /** The volume that has this device; undefined where there is none. */
  nameOf(path: string): Promise<string | undefined>;
  /** Every device a volume can have, by the kernel's own name. */
  nodes(): Promise<readonly string[]>;
}

export const ZVOL_DEVICES: DeviceNames = {
  directory: '/dev/zvol',
  nameOf: zvolNameOf,
  nodes: async () => (await readdir('/dev')).filter((name) => /^zd\d+$/.test(name)).map((name) => join('/dev', name)),
};

/**
 * The block devices of volumes, which the kernel makes some time after ZFS has made the volume. What udev names them is a hint:
 * it looks at a device again whenever somebody has written to it, cannot while ZFS is busy, and takes the name away then.
 */
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
   * Waits until there is one that is the volume's: the link of one that went can still be there, and the kernel has given the
   * device it leads to to another.
   * @returns its path, the kernel's own @throws Timeout
   */
  async ready(dataset: string, signal?: AbortSignal): Promise<string> {
    const device = await tryPatiently(this.patience, () => this.find(dataset), signal);
    if (device !== undefined) return device;
    const path = this.pathOf(dataset);
    const seconds = (this.patience.tries * this.patience.ms) / 1000;
    throw new Timeout(
      `the device of ${path} did not appear within ${String(seconds)} s, or is not the daemon's to open: is udev running, for a daemon that is not root with a rule for its volumes?`,
      {
        reason: 'DISK_DEVICE_MISSING',
        metadata: { path },
      },
    );
  }

  private async find(dataset: string): Promise<string | undefined> {
    const named = await unlessMissing(realpath(this.pathOf(dataset)));
    if (named !== undefined && (await this.names.nameOf(named)) === dataset) return named;
    for (const node of await this.names.nodes()) if ((await this.names.nameOf(node)) === dataset) return node;
    return undefined;
  }
}
