import { InvalidInput } from '@offshoot/shared/errors.js';
import type { Instance } from '../domain/instance.js';
import type { DiskFile } from '../ports/disk-preparer.js';
import type { DiskRoom } from '../ports/disk-storage.js';
import type { Image } from '../ports/image-store.js';
import type { CreateInstanceCommand } from './commands.js';
import type { Context } from './context.js';

/** Size of the disk an instance is to have, in bytes. @throws InvalidInput naming both sizes when the image needs a larger one */
export function diskBytesOf(image: Image, { diskBytes }: Pick<CreateInstanceCommand, 'diskBytes'>): number {
  if (diskBytes === undefined) return image.diskBytes;
  if (diskBytes >= image.diskBytes) return diskBytes;
  throw InvalidInput.field(
    'disk_bytes',
    `must be at least ${String(image.diskBytes)}, the size of the image ${image.name}, got ${String(diskBytes)}`,
    'DISK_TOO_SMALL',
  );
}

/**
 * Bytes that growing takes: 26 KiB of each GiB for ext4's descriptors as raw ones, and 75 in the clusters and tables of a
 * qcow2 disk, which is made of them while they are still there. Measured at 512 GiB.
 */
const GROWTH_BYTES_PER_GIB = 128 * 1024;

/** Files are on the disk, in the layer made of it, and beside it for as long as they are laid and compared. */
const TIMES_A_FILE = 3;

/**
 * Room that making an instance's own disk takes in the state directory, and what the disk then has taken of it.
 * @param disk as {@link createOwnDisk} is to make it
 */
export async function roomForOwnDisk(
  { disks, paths }: Pick<Context, 'disks' | 'paths'>,
  image: Image,
  disk: Pick<Instance, 'name' | 'storage'> & { readonly diskBytes: number; readonly files: readonly DiskFile[] },
): Promise<DiskRoom> {
  const grown = disk.diskBytes - image.diskBytes;
  const { working, kept } = await disks.of(disk).roomFor(image, paths.root, grown > 0 || disk.files.length > 0);
  const written =
    Math.ceil(grown / 2 ** 30) * GROWTH_BYTES_PER_GIB +
    disk.files.reduce((sum, { content }) => sum + content.length, 0) * TIMES_A_FILE;
  return { working: working + written, kept: kept + written };
}

/** Makes an instance's own disk, in its folder, from its image: as large as it is to be, and with these files. */
export async function createOwnDisk(
  { disks, diskPreparer, paths }: Context,
  instance: Instance,
  image: Image,
  files: readonly DiskFile[],
  signal: AbortSignal,
): Promise<void> {
  const folder = paths.instance(instance.id);
  const bytes = instance.diskBytes ?? image.diskBytes;
  const order = { grow: bytes > image.diskBytes, files };
  const preparation = {
    bytes,
    change: (raw: string) => diskPreparer.prepare(raw, folder.root, order, signal),
  };
  await disks.of(instance).create(image, folder, signal, order.grow || files.length > 0 ? preparation : undefined);
}
