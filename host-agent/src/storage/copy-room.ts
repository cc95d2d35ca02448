import { stat } from 'node:fs/promises';
import type { Image } from '../ports/image-store.js';

/**
 * Bytes that a copy of an image's disk takes in a directory; 0 where the two share their blocks. Of what is not on the same
 * device nobody knows whether it can (btrfs gives each subvolume a device of its own): it counts as copied.
 */
export async function copyRoom(
  { rootDisk, diskAllocatedBytes }: Pick<Image, 'rootDisk' | 'diskAllocatedBytes'>,
  directory: string,
  reflinks: boolean,
): Promise<number> {
  if (!reflinks) return diskAllocatedBytes;
  return (await stat(rootDisk)).dev === (await stat(directory)).dev ? 0 : diskAllocatedBytes;
}
