import { readlink, rename, rm, stat, symlink } from 'node:fs/promises';
import { Mutex } from 'async-mutex';
import { Corrupt } from '@offshoot/shared/errors.js';
import { flushFile } from '../../os/flush-file.js';
import { unlessMissing } from '../../os/unless-missing.js';
import type { ImageId } from '../../domain/ids.js';
import type { CapturePaths } from '../../paths.js';
import type {
  DiskClone,
  DiskElsewhere,
  DiskImage,
  DiskPreparation,
  DiskRoom,
  DiskStorage,
} from '../../ports/disk-storage.js';
import type { StorageUse } from '../../ports/instance-files.js';
import { WithoutLayers } from '../without-layers.js';
import { COMPLETE, leafOf } from './dataset-tree.js';
import { dropUnusedOf, freeLabel, removeVolume } from './volume-removal.js';
import { ZfsBases } from './zfs-bases.js';
import { unless, type ZfsDatasets } from './zfs-datasets.js';
import type { ZfsProgram } from './zfs-program.js';
import type { ZvolDevices } from './zvol-devices.js';

/**
 * Each disk is a volume in a ZFS pool. `disk.zvol` in its folder says which: a link to the name the volume has, made before the
 * volume, so that no volume is ever without a folder that leads to it. `disk.raw` is a link to the device the volume has now.
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

  async create(
    image: DiskImage,
    folder: CapturePaths,
    signal?: AbortSignal,
    preparation?: DiskPreparation,
  ): Promise<void> {
    const content = await this.bases.of(image, signal);
    const volume = await this.placeFor(folder, signal);
    await this.changing.runExclusive(() => this.datasets.clone(content, volume, true, signal));
    // A volume would also be made smaller: one of the image's size stays as large as it is.
    if (preparation !== undefined && preparation.bytes > (await stat(image.rootDisk)).size)
      await this.datasets.resizeVolume(volume, preparation.bytes, signal);
    await this.attach(folder, signal);
    await preparation?.change(folder.disk('raw'));
  }

  /** Its disks are in the pool, which is asked when the base is filled. */
  roomFor(): Promise<DiskRoom> {
    return Promise.resolve({ working: 0, kept: 0 });
  }

  roomForClone(): Promise<number> {
    return Promise.resolve(0);
  }

  async snapshot(disk: CapturePaths, moment: CapturePaths, signal?: AbortSignal): Promise<DiskClone> {
    const started = performance.now();
    const source = await this.volumeOf(disk);
    signal?.throwIfAborted();
    const volume = this.datasets.tree.moment(moment);
    await symlink(this.devices.pathOf(volume), moment.volumeLink);
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
    await this.attach(disk, signal);
    return sharing(started);
  }

  async destroy(folder: CapturePaths): Promise<void> {
    const volume = await this.linkedVolume(folder);
    if (volume === undefined) return;
    await this.changing.runExclusive(() => removeVolume(this.datasets, volume));
    for (const link of [folder.disk('raw'), folder.volumeLink]) await rm(link, { force: true });
  }

  async attach(folder: CapturePaths, signal?: AbortSignal): Promise<void> {
    const [link, device] = [folder.disk('raw'), await this.devices.ready(await this.volumeOf(folder), signal)];
    if ((await unlessMissing(readlink(link))) === device) return;
    const next = `${link}.tmp`;
    await rm(next, { force: true });
    await symlink(device, next);
    await rename(next, link);
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

  async elsewhere(): Promise<readonly DiskElsewhere[]> {
    const { instances, moments } = this.datasets.tree.groups;
    const names = [...(await this.datasets.volumesIn(instances)), ...(await this.datasets.volumesIn(moments))];
    return names.map((name) => ({ name, owner: leafOf(name).replace(/-next$/, '') }));
  }

  async discard(name: string): Promise<void> {
    await this.changing.runExclusive(() => removeVolume(this.datasets, name));
  }

  forgetImage(image: ImageId): Promise<void> {
    return this.bases.forget(image);
  }

  sweepImages(kept: ReadonlySet<ImageId>): Promise<readonly string[]> {
    return this.bases.sweep(kept);
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
    await symlink(this.devices.pathOf(volume), folder.volumeLink);
    return volume;
  }

  /** @throws ENOENT where the folder has no disk */
  private async volumeOf(folder: CapturePaths): Promise<string> {
    const link = folder.volumeLink;
    const volume = this.devices.datasetOf(await readlink(link));
    if (volume !== undefined && this.datasets.tree.contains(volume)) return volume;
    throw new Corrupt(`${link} does not lead to a volume below ${this.datasets.tree.root}`, {
      reason: 'DISK_MALFORMED',
      metadata: { path: link },
    });
  }

  private async linkedVolume(folder: CapturePaths): Promise<string | undefined> {
    return await unlessMissing(this.volumeOf(folder));
  }
}

const sharing = (started: number): DiskClone => ({
  copiedBytes: 0,
  reflinked: true,
  layers: 0,
  ms: performance.now() - started,
});
