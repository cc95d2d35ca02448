import { constants, readlinkSync } from 'node:fs';
import { open, readdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Unreachable, messageOf } from '@offshoot/shared/errors.js';
import { asCapacityIfFull } from '../os/disk-space.js';
import { copyOntoOpenDevice } from '../os/sparse-copy.js';
import { refusal } from './refusal.js';
import type { VolumeDevices } from './volume-devices.js';

/** Read permission of everybody (stat(2)). */
const READABLE_BY_ALL = 0o004;

/**
 * Opens a file that is to be copied, by its canonical path. It is one that its caller may read in any case: root is asked to
 * write to the volume, not to read.
 * @param owner user id of the caller
 * @throws InvalidInput when it is missing, no regular file, meanwhile another one than its path says, or not the caller's to read
 */
export async function openSource(path: string, owner: number): Promise<FileHandle> {
  let source: FileHandle;
  try {
    // Without O_NONBLOCK a FIFO would keep root waiting.
    source = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw refusal(`SOURCE has to be a file that root can open, and no symbolic link: ${messageOf(error)}`);
  }
  try {
    const stats = await source.stat();
    if (!stats.isFile()) throw refusal(`SOURCE has to be a regular file, which ${path} is not`);
    // A folder on the way may have become a symbolic link since the path was looked at.
    if (readlinkSync(`/proc/self/fd/${String(source.fd)}`) !== path)
      throw refusal(`SOURCE has to stay where it is: ${path} is another file by now`);
    if (stats.uid !== owner && (stats.mode & READABLE_BY_ALL) === 0)
      throw refusal(`SOURCE has to be the file of the user ${String(owner)}, or readable by all, which ${path} is not`);
    return source;
  } catch (error) {
    await source.close();
    throw error;
  }
}

/**
 * Writes the data of a file onto a volume that holds zeros, through to its medium.
 * @param source closed here @throws Unreachable when the volume has no device or is in use; Capacity; as copyOntoDevice
 */
export async function fillVolume(
  source: FileHandle,
  path: string,
  dataset: string,
  devices: VolumeDevices,
): Promise<void> {
  await using handle = source;
  await using device = await openVolume(dataset, devices);
  try {
    await copyOntoOpenDevice({ handle, path }, device);
  } catch (error) {
    throw asCapacityIfFull(error);
  }
}

async function openVolume(dataset: string, { folder, nodes, volumeOf }: VolumeDevices): Promise<FileHandle> {
  const unreachable = (why: string): Unreachable =>
    new Unreachable(`the volume ${dataset} ${why}`, { reason: 'DISK_DEVICE_UNUSABLE', metadata: { dataset } });
  for (const name of (await readdir(folder)).filter((each) => nodes.test(each))) {
    const node = join(folder, name);
    if ((await volumeOf(node)) !== dataset) continue;
    let device: FileHandle;
    try {
      // O_EXCL: not one that is mounted.
      device = await open(node, constants.O_WRONLY | constants.O_EXCL | constants.O_NOFOLLOW);
    } catch (error) {
      throw unreachable(`cannot be written: ${messageOf(error)}`);
    }
    // As long as it is open the kernel gives the device to no other volume.
    if ((await volumeOf(node)) === dataset) return device;
    await device.close();
  }
  throw unreachable('has no device');
}
