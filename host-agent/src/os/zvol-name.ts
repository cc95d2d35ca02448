import { open } from 'node:fs/promises';
import { errnoOf } from '@offshoot/shared/errors.js';
import { ioctl } from './libc.js';

/** _IOR(0x12, 125, char[256]) of OpenZFS's sys/fs/zfs.h. */
const BLKZNAME = 0x8100_127d;
const NAME_BYTES = 256;

/**
 * Name of the volume a block device is, as the kernel has it; undefined where there is no such file, or one that is not this user's (yet: udev gives
 * users the devices of their volumes). @throws ENOTTY for another device
 */
export async function zvolNameOf(path: string): Promise<string | undefined> {
  try {
    await using device = await open(path, 'r');
    const name = Buffer.alloc(NAME_BYTES);
    ioctl(device.fd, BLKZNAME, name);
    return name.toString('latin1', 0, name.indexOf(0));
  } catch (error) {
    // The device was just taken away, and its name was not; or it is another's.
    if (['ENOENT', 'ENXIO', 'ENODEV', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
