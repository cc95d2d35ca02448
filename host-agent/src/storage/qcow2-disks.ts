import { linkSync } from 'node:fs';
import { chmod, open, readdir, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import { isLayerName } from '../domain/layer-name.js';
import { flushFile } from '../os/flush-file.js';
import { sparseCopy } from '../os/sparse-copy.js';
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
import { changeBacking, layersOf, prepareLayer, settleDisk } from './disk-layers.js';
import { NewestLayers } from './layer-merge.js';
import { worthLayer } from './layer-policy.js';
import { changedClusters } from './changed-clusters.js';
import { CLUSTER_BYTES } from './qcow2-header.js';
import { createOverlay, rawContent } from './qcow2-overlay.js';

/**
 * Each instance's disk is a qcow2 layer over the image's read-only root disk: made in no time, and its clone is as large
 * as what the instance itself wrote since its last layer. All instances of an image share its pages in the page cache. Folders
 * share layers by hard links, so that any of them can be removed at any time.
 */
export class Qcow2Disks implements DiskStorage {
  readonly name = 'overlay';

  constructor(
    /** Whether the filesystem clones a file of any size at once; layers are then of no use. */
    readonly reflinks: boolean,
  ) {}

  async create(
    { rootDisk }: DiskImage,
    folder: CapturePaths,
    signal?: AbortSignal,
    preparation?: DiskPreparation,
  ): Promise<void> {
    signal?.throwIfAborted();
    const { size } = await stat(rootDisk);
    const virtualBytes = preparation?.bytes ?? size;
    // An absolute path is the one form of a backing name that means the same to every hypervisor, and QEMU looks for the name
    // of a protocol before the first slash only.
    const overlay = { virtualBytes, backing: rootDisk, backingFormat: 'raw' } as const;
    if (preparation === undefined) {
      await createOverlay(folder.disk('qcow2'), overlay, signal);
      return;
    }
    const raw = preparedFile(folder);
    const clusters = await prepare(rootDisk, raw, preparation, signal);
    {
      await using file = await open(raw, 'r');
      await createOverlay(folder.disk('qcow2'), { ...overlay, content: rawContent(file, clusters) }, signal);
    }
    await rm(raw);
  }

  /** The whole disk has to be there as a raw one for as long as it is changed. */
  async roomFor(image: Image, directory: string, isPrepared: boolean): Promise<DiskRoom> {
    return { working: isPrepared ? await copyRoom(image, directory, this.reflinks) : 0, kept: 0 };
  }

  roomForClone(source: CapturePaths): Promise<number> {
    return this.reflinks ? Promise.resolve(0) : allocatedBytes(source.disk('qcow2'));
  }

  snapshot(disk: CapturePaths, moment: CapturePaths, signal?: AbortSignal): Promise<DiskClone> {
    return this.clone(disk, moment, signal);
  }

  async clone(source: CapturePaths, disk: CapturePaths, signal?: AbortSignal): Promise<DiskClone> {
    const started = performance.now();
    const layers = layersOf(source);
    for (const name of layers) linkUnlessThere(source.layer(name), disk.layer(name));
    const { reflinked, copiedBytes } = await sparseCopy(source.disk('qcow2'), disk.disk('qcow2'), signal);
    return { reflinked, copiedBytes, layers: layers.length, ms: performance.now() - started };
  }

  async destroy(folder: CapturePaths): Promise<void> {
    for (const file of [folder.disk('qcow2'), preparedFile(folder)]) await rm(file, { force: true });
    for (const name of await namesIn(folder)) if (isLayerName(name)) await rm(folder.layer(name), { force: true });
  }

  /** The layers below were written through when they got their top. */
  async flush(folder: CapturePaths): Promise<void> {
    await flushFile(folder.disk('qcow2'));
  }

  usage(folder: CapturePaths): Promise<StorageUse> {
    return storageUse(folder.root, (name) => name === DISK_FILES.qcow2 || isLayerName(name));
  }

  async needsLayer(folder: CapturePaths): Promise<boolean> {
    if (this.reflinks) return false;
    const bytes = await allocatedBytes(folder.disk('qcow2'));
    return bytes >= worthLayer(0) && bytes >= worthLayer(layersOf(folder).length);
  }

  prepareLayer(folder: CapturePaths): Promise<string> {
    return prepareLayer(folder);
  }

  mergeLayers(
    folder: CapturePaths,
    turn: () => Promise<void>,
    signal?: AbortSignal,
  ): Promise<NewestLayers | undefined> {
    return NewestLayers.begin(folder, turn, signal);
  }

  changeBacking(folder: CapturePaths, file: string): Promise<void> {
    return changeBacking(folder, file);
  }

  attach(): Promise<void> {
    return Promise.resolve();
  }

  settle(folder: CapturePaths, openFile?: string): Promise<void> {
    return settleDisk(folder, openFile);
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

/** Ends as what a killed daemon leaves and the next one removes. */
const preparedFile = ({ root }: CapturePaths): string => join(root, 'prepared-disk.tmp');

/**
 * Programs for file systems read raw disks only. So the whole disk is made as one, for as long as it takes to change it, and
 * then compared with the image: what differs is all that the layer has to hold.
 * @returns the numbers of its clusters
 */
async function prepare(
  rootDisk: string,
  raw: string,
  { bytes, change }: DiskPreparation,
  signal?: AbortSignal,
): Promise<readonly number[]> {
  await sparseCopy(rootDisk, raw, signal);
  await chmod(raw, 0o600); // the image's own mode lets nobody write
  await truncate(raw, bytes);
  await change(raw);
  return changedClusters(rootDisk, raw, CLUSTER_BYTES, signal);
}

async function namesIn({ root }: CapturePaths): Promise<string[]> {
  try {
    return await readdir(root);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
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
