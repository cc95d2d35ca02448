import { randomUUID } from 'node:crypto';
import { rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import type { FileStamp } from '../domain/instance.js';
import { unlessMissing } from '../os/unless-missing.js';

/** A folder under this prefix is being removed. */
const TRASH = '.trash-';

/** Removes a folder, at once for every onlooker; missing is success. */
export async function removeFolder(path: string): Promise<void> {
  const trash = join(dirname(path), `${TRASH}${basename(path)}-${randomUUID()}`);
  try {
    await rename(path, trash);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  await rm(trash, { recursive: true, force: true });
}

export async function isFolder(path: string): Promise<boolean> {
  return (await unlessMissing(stat(path)))?.isDirectory() ?? false;
}

export async function stampOf(path: string): Promise<FileStamp> {
  const { size, mtimeNs, ino } = await stat(path, { bigint: true });
  return { size: Number(size), mtimeNs: String(mtimeNs), inode: String(ino) };
}
