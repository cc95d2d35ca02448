import { readlink, rm, symlink } from 'node:fs/promises';
import { Mutex } from 'async-mutex';
import { Corrupt, errnoOf } from '@offshoot/shared/errors.js';
import { flushFile } from '../../os/flush-file.js';
import type { CapturePaths } from '../../paths.js';
import type { DiskClone, DiskImage, DiskStorage } from '../../ports/disk-storage.js';
import type { StorageUse } from '../../ports/instance-files.js';
import { WithoutLayers } from '../without-layers.js';
import { COMPLETE, leafOf } from './dataset-tree.js';
import { dropUnusedOf, freeLabel, removeVolume } from './volume-removal.js';
import { ZfsBases } from './zfs-bases.js';
import { unless, type ZfsDatasets } from './zfs-datasets.js';
import type { ZfsProgram } from './zfs-program.js';
import type { ZvolDevices } from './zvol-devices.js';

/**
 * Each disk is a volume in a ZFS pool; `disk.raw` in its folder is a link to the device, and what says which volume it is: it is
 * made before the volume, so that no volume is ever without a folder that leads to it.
 *
 * A moment of a disk is a clone of its snapshot, promoted, so that the disk stands on the moment and can be destroyed; it has no
 * device, since nobody writes or reads it. A volume that others stand on hands its snapshots over to one of them when it goes.
 */
export class ZfsDisks extends WithoutLayers implements DiskStorage {
  readonly name = 'zfs';
  private readonly bases: ZfsBases;
  /** Who stands on whom changes by several commands, for others than the disk at hand: one such change at a time. */
  private readonly changing = new Mutex();

  constructor(
    private readonly datasets: ZfsDatasets,
    program: ZfsProgram,
    private readonly devices: ZvolDevices,
  ) {
    super();
    this.bases = new ZfsBases(datasets, program, devices);
  }

  async create(image: DiskImage, folder: CapturePaths, signal?: AbortSignal): Promise<void> {
    const content = await this.bases.of(image, signal);
    const volume = await this.placeFor(folder, signal);
    await this.changing.runExclusive(() => this.datasets.clone(content, volume, true, signal));
    await this.devices.ready(volume, signal);
  }

  async snapshot(disk: CapturePaths, moment: CapturePaths, signal?: AbortSignal): Promise<DiskClone> {
    const started = performance.now();
    const source = await this.volumeOf(disk);
    signal?.throwIfAborted();
    const volume = this.datasets.tree.moment(moment);
    await symlink(this.devices.pathOf(volume), moment.disk('raw'));
    await this.changing.runExclusive(async () => {
      const taken = await this.take(source, COMPLETE, signal);
      try {
        await this.datasets.clone(taken, volume, false, signal);
        await this.datasets.promote(volume, signal);
      } catch (error) {
        await removeVolume(this.datasets, volume);
        await this.datasets.destroy(taken);
        throw error;
      }
    });
    return sharing(started);
  }

  async clone(source: CapturePaths, disk: CapturePaths, signal?: AbortSignal): Promise<DiskClone> {
    const started = performance.now();
    const from = await this.volumeOf(source);
    const volume = await this.placeFor(disk, signal);
    await this.changing.runExclusive(async () => {
      if (this.datasets.tree.isMoment(from)) {
        await this.datasets.clone(`${from}@${COMPLETE}`, volume, true, signal);
        return;
      }
      const taken = await this.take(from, leafOf(volume), signal);
      try {
        await this.datasets.clone(taken, volume, true, signal);
      } catch (error) {
        await removeVolume(this.datasets, volume);
        await this.datasets.destroy(taken);
        throw error;
      }
    });
    await this.devices.ready(volume, signal);
    return sharing(started);
  }

  async destroy(folder: CapturePaths): Promise<void> {
    const volume = await this.linkedVolume(folder);
    if (volume === undefined) return;
    await this.changing.runExclusive(() => removeVolume(this.datasets, volume));
    await rm(folder.disk('raw'), { force: true });
  }

  /** A snapshot has what the pool has, not what the host's page cache still holds for the device. */
  async flush(folder: CapturePaths): Promise<void> {
    await flushFile(folder.disk('raw'));
  }

  async usage(folder: CapturePaths): Promise<StorageUse> {
    const volume = await this.linkedVolume(folder);
    const use = volume === undefined ? undefined : await this.datasets.use(volume);
    if (use === undefined) return { ownBytes: 0, sharedBytes: 0 };
    return { ownBytes: use.used, sharedBytes: Math.max(0, use.referenced - use.usedByDataset) };
  }

  async settle(folder: CapturePaths): Promise<void> {
    const volume = await this.linkedVolume(folder);
    if (volume === undefined) return;
    for (const other of this.datasets.tree.instance(folder))
      if (other !== volume) await this.changing.runExclusive(() => removeVolume(this.datasets, other));
  }

  async sweep(folders: readonly CapturePaths[]): Promise<readonly string[]> {
    const kept = new Set(await Promise.all(folders.map((folder) => this.linkedVolume(folder))));
    const removed: string[] = [];
    const { instances, moments } = this.datasets.tree.groups;
    for (const group of [instances, moments])
      for (const volume of await this.datasets.volumesIn(group))
        await this.changing.runExclusive(async () => {
          if (kept.has(volume)) {
            await dropUnusedOf(this.datasets, volume);
            return;
          }
          await removeVolume(this.datasets, volume);
          removed.push(volume);
        });
    return removed;
  }

  /** Takes a snapshot of a volume. A daemon that was killed may have left one of that name, or one may have come with others. */
  private async take(volume: string, label: string, signal?: AbortSignal): Promise<string> {
    const name = `${volume}@${label}`;
    const done = this.datasets.snapshot(name, signal).then(() => name);
    if ((await unless('exists', done)) !== undefined) return name;
    await freeLabel(this.datasets, name);
    await this.datasets.snapshot(name, signal);
    return name;
  }

  /** Names the volume a new disk is to be, and links the folder to it. @throws EEXIST where the folder has a disk */
  private async placeFor(folder: CapturePaths, signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted();
    const [first, second] = this.datasets.tree.instance(folder);
    const volume = (await this.datasets.exists(first, signal)) ? second : first;
    await symlink(this.devices.pathOf(volume), folder.disk('raw'));
    return volume;
  }

  /** @throws ENOENT where the folder has no disk */
  private async volumeOf(folder: CapturePaths): Promise<string> {
    const link = folder.disk('raw');
    const volume = this.devices.datasetOf(await readlink(link));
    if (volume !== undefined && this.datasets.tree.contains(volume)) return volume;
    throw new Corrupt(`${link} does not lead to a volume below ${this.datasets.tree.root}`, {
      reason: 'DISK_MALFORMED',
      metadata: { path: link },
    });
  }

  private async linkedVolume(folder: CapturePaths): Promise<string | undefined> {
    try {
      return await this.volumeOf(folder);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }
}

const sharing = (started: number): DiskClone => ({
  copiedBytes: 0,
  reflinked: true,
  layers: 0,
  ms: performance.now() - started,
});
