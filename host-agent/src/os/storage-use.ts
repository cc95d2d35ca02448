import { lstat, readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import type { StorageUse } from '../ports/instance-files.js';

/** The unit of st_blocks, whatever the file system's own blocks are (stat(2)). */
const BLOCK_BYTES = 512;

/** What a file takes on the disk. @throws system errors */
export const allocatedBytes = async (path: string): Promise<number> => (await stat(path)).blocks * BLOCK_BYTES;

/**
 * What a folder takes on the disk; files that go meanwhile count as gone.
 * @param counted which of the names in the folder count, with all that is below them
 */
export async function storageUse(folder: string, counted: (name: string) => boolean = () => true): Promise<StorageUse> {
  const inodes = new Map<bigint, { bytes: number; names: number; links: number }>();
  for (const path of await namesIn(folder, counted)) {
    const stats = await unlessGone(lstat(path, { bigint: true }));
    if (stats?.isFile() !== true) continue;
    const { ino, blocks, nlink } = stats;
    const { names } = inodes.get(ino) ?? { names: 0 };
    inodes.set(ino, { bytes: Number(blocks) * BLOCK_BYTES, names: names + 1, links: Number(nlink) });
  }
  let [ownBytes, sharedBytes] = [0, 0];
  for (const { bytes, names, links } of inodes.values())
    if (links > names) sharedBytes += bytes;
    else ownBytes += bytes;
  return { ownBytes, sharedBytes };
}

async function namesIn(folder: string, counted: (name: string) => boolean): Promise<string[]> {
  const entries = (await unlessGone(readdir(folder, { recursive: true, withFileTypes: true }))) ?? [];
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => counted(relative(folder, path).split(sep)[0] ?? ''));
}

async function unlessGone<Value>(work: Promise<Value>): Promise<Value | undefined> {
  try {
    return await work;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
