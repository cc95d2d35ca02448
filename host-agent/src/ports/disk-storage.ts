import type { StorageName } from '../domain/storage-name.js';
import type { CapturePaths } from '../paths.js';

/** How a disk came about from another, and what that cost. */
export interface DiskClone {
  /** Written by copying what the source's own file holds; 0 with a reflink. */
  readonly copiedBytes: number;
  /** The filesystem shares the source's blocks. */
  readonly reflinked: boolean;
  /** Files shared with the source, none of which anybody writes to. */
  readonly layers: number;
  readonly ms: number;
}

/**
 * The root disks of instances: in each folder one file that takes the writes, on top of any number of immutable layers under
 * names of their own, on top of the image's disk. Folders share layers by hard links, so that any of them can be removed
 * at any time.
 */
export interface DiskStorage {
  readonly name: StorageName;
  /**
   * A fresh writable disk with the content of a read-only image, in a folder that has none. Takes no more room than the
   * image's data. On failure some of it may be there, to be removed with the folder.
   */
  create(imageDisk: string, folder: CapturePaths, signal?: AbortSignal): Promise<void>;
  /**
   * A copy of a disk nobody writes to meanwhile: links to its layers, and its own file by reflink, else only the extents that
   * hold data, never dense. On failure some of it may be there, to be removed with the folder.
   */
  clone(source: CapturePaths, destination: CapturePaths, signal?: AbortSignal): Promise<DiskClone>;
  /** Whether clones would copy so much that what the disk's own file holds had better become a layer first. */
  needsLayer(folder: CapturePaths): Promise<boolean>;
  /**
   * For disks that have layers alone. Makes a new, empty top for a disk beside it, and a layer's name for the file that takes the writes now. Nothing has changed
   * for the disk until its VMM writes to the new file, or {@link settle} takes that as the disk of a VM that does not run.
   * @returns the new file, absolute
   */
  prepareLayer(folder: CapturePaths): Promise<string>;
  /**
   * Lets the disk's name lead to the file that is its top, wherever a daemon or a VMM ended between the two, and removes layers
   * the disk does not stand on.
   * @param openFile the file to which the disk's VMM writes, as it says itself; without it no VMM may have the disk open
   */
  settle(folder: CapturePaths, openFile?: string): Promise<void>;
}
