import type { Instance } from '../domain/instance.js';
import { assertFreeBytes } from '../os/disk-space.js';
import type { CapturePaths } from '../paths.js';
import type { Context } from './context.js';
import { hasLayers } from './disk-layer.js';

/** Room for what comes with a disk's clone: device state, records, logs, and what a VM writes at first; in bytes. */
const MARGIN_BYTES = 64 * 2 ** 20;

/**
 * @param folder with the disk that is to be cloned
 * @param what needs the room, as the sentence begins
 * @param more bytes that are written beside the disk
 * @throws Capacity DISK_FULL before any work when the state directory has no room for it
 */
export async function assertCloneRoom(
  { disks, paths }: Pick<Context, 'disks' | 'paths'>,
  owner: Pick<Instance, 'name' | 'storage' | 'driver'>,
  folder: CapturePaths,
  what: string,
  more = 0,
): Promise<void> {
  const disk = disks.of(owner);
  // What becomes a layer first is not copied.
  const isLaid = hasLayers(owner) && (await disk.needsLayer(folder));
  const copied = isLaid ? 0 : await disk.roomForClone(folder);
  await assertFreeBytes(paths.root, copied + more + MARGIN_BYTES, what);
}
