import { InvalidInput } from '@offshoot/shared/errors.js';
import type { Instance } from '../domain/instance.js';
import type { DiskFile } from '../ports/disk-preparer.js';
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
