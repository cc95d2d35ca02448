import type { ImageId } from '../domain/ids.js';
import type { StorageName } from '../domain/storage-name.js';
import type { CapturePaths } from '../paths.js';
import type { Image } from './image-store.js';
import type { StorageUse } from './instance-files.js';

/** What a new disk begins as. */
export type DiskImage = Pick<Image, 'id' | 'rootDisk'>;

/** What a new disk is to be that its image is not. */
export interface DiskPreparation {
  /** Size of the disk: a multiple of 1 MiB where it is not the image's, and not below that. */
  readonly bytes: number;
  /**
   * Changes the new disk before anything else has read it, given a file or device with the whole of it as raw bytes, larger
   * than the image where it is to be. What it throws, {@link DiskStorage.create} does.
   */
  readonly change: (raw: string) => Promise<void>;
}

/** Bytes that a disk takes of the state directory's file system, besides what is written to it. */
export interface DiskRoom {
  /** At most, while it is being made. */
  readonly working: number;
  /** For as long as it is there. */
  readonly kept: number;
}

/** How a disk came about from another, and what that cost. */
export interface DiskClone {
  /** Written by copying what the source's own file holds; 0 where blocks are shared instead. */
  readonly copiedBytes: number;
  /** The filesystem, or the pool, shares the source's blocks. */
  readonly reflinked: boolean;
  /** Files shared with the source, none of which anybody writes to. */
  readonly layers: number;
  readonly ms: number;
}

/**
 * Files in the making that are to take the place of a disk's newest layers, beside it: nothing changes for the disk, for its VM
 * or for others who have the same layers. Disposing of it removes what was not published.
 */
export interface LayerMerge extends AsyncDisposable {
  /**
   * Whether the disk's own file can stand on them now; has been given more layers since they were begun, above those they are
   * made of; or is another disk now, for which they are of no use. Synchronous.
   */
  progress(): 'whole' | 'behind' | 'void';
  /** Merges the layers the disk has been given since. */
  catchUp(signal?: AbortSignal): Promise<void>;
  /**
   * Gives them their names, durably. To be called when they are whole and the disk cannot get more layers, until its own file
   * stands on them and {@link DiskStorage.settle} was called, which removes the layers they replace.
   * @returns the file that the disk's own is to stand on, absolute
   */
  publish(): Promise<string>;
}

/** A disk that lies in no folder. */
export interface DiskElsewhere {
  readonly name: string;
  /** Id of the instance, snapshot or capture whose it is. */
  readonly owner: string;
}

/**
 * The root disks of instances and of their moments, one in each folder: `disk.qcow2` or `disk.raw` leads to it. Any of them can
 * be destroyed at any time, whatever was made of it or it was made of.
 *
 * A storage is probed once, when it is opened (storage/open-storages.ts): one that this host does not have is none. Nobody has
 * to promote a disk, either: only ZFS makes a clone depend on its source, and turns that round itself, in {@link snapshot} and
 * {@link destroy}.
 *
 * On failure and cancellation some of what a call was to make may be there, until the folder's disk is destroyed.
 */
export interface DiskStorage {
  readonly name: StorageName;
  /**
   * A fresh writable disk with the content of a read-only image, in a folder that has none. Takes no more room than the
   * image's data and of what the preparation writes.
   */
  create(image: DiskImage, folder: CapturePaths, signal?: AbortSignal, preparation?: DiskPreparation): Promise<void>;
  /**
   * What {@link create} will take, known before anything is made; it may be less.
   * @param directory that disks' folders are in
   */
  roomFor(image: Image, directory: string, isPrepared: boolean): Promise<DiskRoom>;
  /**
   * Keeps the present moment of a disk, which is written again afterwards, in a folder of its own, where nobody writes it.
   * Nobody writes the disk meanwhile, and what its VMM wrote was flushed. Called within a pause.
   */
  snapshot(disk: CapturePaths, moment: CapturePaths, signal?: AbortSignal): Promise<DiskClone>;
  /** Bytes that {@link clone} or {@link snapshot} of this disk would copy within the state directory, about. */
  roomForClone(source: CapturePaths): Promise<number>;
  /** A writable disk with the content of a moment, or of another disk nobody writes to meanwhile. */
  clone(source: CapturePaths, disk: CapturePaths, signal?: AbortSignal): Promise<DiskClone>;
  /**
   * Removes the disk of a folder and what it alone stood on; missing is success. No VMM may have it open.
   * @throws InvalidState DISK_IN_USE naming what stands on it and is not the daemon's
   */
  destroy(folder: CapturePaths): Promise<void>;
  /**
   * Lets the disk's name lead to what a VMM can open now. To be called before a VMM gets a disk that lay at rest: a host that
   * booted anew gives the devices of volumes other numbers.
   * @throws Timeout DISK_DEVICE_MISSING
   */
  attach(folder: CapturePaths, signal?: AbortSignal): Promise<void>;
  /** Writes what the host still has in memory of the disk's own writes through to it: a VMM's writes, and no other files'. */
  flush(folder: CapturePaths): Promise<void>;
  /** What the disk takes, holes not counted. Blocks that a filesystem shares by itself count as everybody's own. */
  usage(folder: CapturePaths): Promise<StorageUse>;
  /** Whether clones would copy so much that what the disk's own file holds had better become a layer first. */
  needsLayer(folder: CapturePaths): Promise<boolean>;
  /**
   * For disks that have layers alone. Makes a new, empty top for a disk beside it, and a layer's name for the file that takes
   * the writes now. Nothing has changed for the disk until its VMM writes to the new file, or {@link settle} takes that as the
   * disk of a VM that does not run.
   * @returns the new file, absolute
   */
  prepareLayer(folder: CapturePaths): Promise<string>;
  /**
   * Lets the disk's name lead to the file that is its top, wherever a daemon or a VMM ended between the two, and removes what
   * was the disk of this folder, or part of it, and is not any more.
   * @param openFile the file to which the disk's VMM writes, as it says itself; without it no VMM may have the disk open
   */
  settle(folder: CapturePaths, openFile?: string): Promise<void>;
  /**
   * Makes the newest layers of a disk one, where it has too many. Takes as long as it takes to copy them, and gives way: its
   * VM, snapshots and forks go on meanwhile.
   * @param turn awaited before each piece of at most 1 MiB
   * @returns undefined where there is nothing to do
   * @throws Capacity when it would fill the disk
   */
  mergeLayers(folder: CapturePaths, turn: () => Promise<void>, signal?: AbortSignal): Promise<LayerMerge | undefined>;
  /**
   * Lets the disk's own file, which no VMM has open, stand on another one in its folder: of the same content as all it stands
   * on now.
   */
  changeBacking(folder: CapturePaths, file: string): Promise<void>;
  /**
   * Removes what is kept of an image for disks to come; missing is success.
   * @throws InvalidState DISK_IN_USE where a disk stands on it
   */
  forgetImage(image: ImageId): Promise<void>;
  /** The same for all images but these, where nothing stands on it. Returns what was removed. */
  sweepImages(kept: ReadonlySet<ImageId>): Promise<readonly string[]>;
  elsewhere(): Promise<readonly DiskElsewhere[]>;
  /** Removes one of these, which belongs to nobody; missing is success. @throws as {@link destroy} */
  discard(name: string): Promise<void>;
  /** Removes disks that none of these folders has, which a killed daemon left. Returns what was removed. */
  sweep(folders: readonly CapturePaths[]): Promise<readonly string[]>;
}
