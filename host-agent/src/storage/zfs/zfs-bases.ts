import { stat } from 'node:fs/promises';
import { Capacity, InvalidState } from '@offshoot/shared/errors.js';
import { Mutex } from 'async-mutex';
import type { ImageId } from '../../domain/ids.js';
import type { DiskImage } from '../../ports/disk-storage.js';
import { COMPLETE } from './dataset-tree.js';
import type { ZfsDatasets } from './zfs-datasets.js';
import type { ZfsProgram } from './zfs-program.js';
import type { ZvolDevices } from './zvol-devices.js';

/** What ZFS takes for data and what leads to it, by the data. */
const ROOM_FACTOR = 1.1;

/** A volume's size is a multiple of its block's, whichever that is: at most 128 KiB. */
const UNIT_BYTES = 128 * 1024;

/** The images as volumes, from each of which any number of disks is cloned. */
export class ZfsBases {
  /** One is made at a time, and once. */
  private readonly making = new Mutex();

  constructor(
    private readonly datasets: ZfsDatasets,
    private readonly program: ZfsProgram,
    private readonly devices: ZvolDevices,
  ) {}

  /** @returns the snapshot to clone. A base that was filled and not marked, or not even filled, is made anew */
  async of(image: DiskImage, signal?: AbortSignal): Promise<string> {
    const base = this.datasets.tree.base(image.id);
    const content = `${base}@${COMPLETE}`;
    if (await this.datasets.exists(content, signal)) return content;
    return await this.making.runExclusive(async () => {
      if (!(await this.datasets.exists(content, signal))) await this.make(image.rootDisk, base, content, signal);
      return content;
    });
  }

  /** Missing is success. @throws InvalidState DISK_IN_USE where a disk was cloned of it, whoever's */
  forget(image: ImageId): Promise<void> {
    return this.making.runExclusive(() => this.remove(this.datasets.tree.base(image)));
  }

  /** Removes the bases of all images but these, where no disk was cloned of them. Returns what was removed. */
  async sweep(kept: ReadonlySet<ImageId>): Promise<readonly string[]> {
    const { tree } = this.datasets;
    const wanted = new Set([...kept].map((image) => tree.base(image)));
    const removed: string[] = [];
    for (const base of await this.datasets.volumesIn(tree.groups.bases)) {
      if (wanted.has(base) || (await this.dependantsOf(base)).length > 0) continue;
      await this.making.runExclusive(() => this.remove(base));
      removed.push(base);
    }
    return removed;
  }

  private async remove(base: string): Promise<void> {
    const clones = await this.dependantsOf(base);
    if (clones.length === 0) {
      await this.datasets.destroy(base);
      return;
    }
    throw new InvalidState(`${base} cannot be removed: ${clones.join(', ')} was cloned of it`, {
      reason: 'DISK_IN_USE',
      metadata: { dataset: base, dependants: clones.join(',') },
    });
  }

  private async dependantsOf(base: string): Promise<string[]> {
    return (await this.datasets.snapshotsOf(base)).flatMap(({ clones }) => clones);
  }

  private async make(file: string, base: string, content: string, signal?: AbortSignal): Promise<void> {
    const { size, blocks } = await stat(file);
    await this.datasets.destroy(base);
    await this.assertRoom(blocks * 512 * ROOM_FACTOR);
    try {
      await this.datasets.createVolume(base, Math.ceil(size / UNIT_BYTES) * UNIT_BYTES, signal);
      const device = await this.devices.ready(base, signal);
      await this.program.fill(file, { dataset: base, device }, signal);
      await this.datasets.snapshot(content, signal);
    } catch (error) {
      await this.datasets.destroy(base);
      throw error;
    }
  }

  /** A pool that runs out of room says so to whoever writes to a device by an error of the device, if at all. */
  private async assertRoom(needed: number): Promise<void> {
    const free = await this.datasets.availableBytes();
    if (free >= needed) return;
    const { root } = this.datasets.tree;
    throw new Capacity(`an image needs ${String(needed)} bytes below ${root}, there are ${String(free)}`, {
      reason: 'DISK_FULL',
      metadata: { path: root, needed_bytes: String(needed), free_bytes: String(free) },
    });
  }
}
