import { open } from 'node:fs/promises';
import { Corrupt } from '@offshoot/shared/errors.js';
import { askDebugfs, changeByDebugfs, usedInodes } from './debugfs.js';
import { ToolFailure, runTool } from './tool.js';
import { walkTree } from './walk-tree.js';
import type { Debugfs } from './debugfs.js';

/** Bytes of a block, and of an inode in its table. */
export const BLOCK = 4096;
export const INODE_BYTES = 256;
const MIB = 2 ** 20;

/**
 * Written out, because /etc/mke2fs.conf differs between distributions. `metadata_csum` makes e2fsck notice damage;
 * everything here is known to kernels since 4.x.
 */
const FEATURES = [
  'none',
  'has_journal',
  'ext_attr',
  'resize_inode',
  'dir_index',
  'filetype',
  'extent',
  '64bit',
  'flex_bg',
  'sparse_super',
  'large_file',
  'huge_file',
  'dir_nlink',
  'extra_isize',
  'metadata_csum',
].join(',');

/** Size of a disk for so many bytes of files: 1.25 times as much and 128 MiB, at least 512 MiB, in steps of 4 MiB. */
export const diskSizeFor = (contentBytes: number): number =>
  Math.max(512 * MIB, Math.ceil((contentBytes * 1.25 + 128 * MIB) / (4 * MIB)) * 4 * MIB);

export interface Ext4Format {
  /** Also seeds the hashes of folders: equal trees give equal disks. */
  readonly uuid: string;
  /** Seconds since 1970 for everything the file system dates. */
  readonly time: number;
  /** Of the disk, in bytes. */
  readonly size: number;
  /** How many; one for every 16 KiB when left out. */
  readonly inodes?: number;
}

/** What makes e2fsprogs take the time it is given for now: newer mke2fs knows SOURCE_DATE_EPOCH, older ones only the other. */
export const timeFor = (time: number): Readonly<Record<string, string>> => ({
  E2FSPROGS_FAKE_TIME: String(time),
  SOURCE_DATE_EPOCH: String(time),
});

/** Makes an ext4 disk with the tree in it; owners and times in it are those of the tree. */
export async function formatExt4(
  tree: string,
  disk: string,
  { uuid, time, size, inodes }: Ext4Format,
  signal?: AbortSignal,
): Promise<void> {
  {
    await using file = await open(disk, 'wx', 0o644);
    await file.truncate(size);
  }
  // Tables are written now (holes in a new file): otherwise each guest's kernel fills them in, in every fork anew.
  const extended = ['root_owner=0:0', `hash_seed=${uuid}`, 'lazy_itable_init=0', 'lazy_journal_init=0'].join(',');
  const many = inodes === undefined ? ['-i', '16384'] : ['-N', String(inodes)];
  await runTool(
    'mkfs.ext4',
    ['-q', '-F', '-b', String(BLOCK), '-I', String(INODE_BYTES), ...many, '-m', '0', '-O', FEATURES].concat([
      '-L',
      'offshoot',
      '-U',
      uuid,
      '-E',
      extended,
      '-d',
      tree,
      disk,
    ]),
    { env: timeFor(time), signal },
  );
}

export interface Ext4Options {
  readonly uuid: string;
  readonly time: number;
  /** For debugfs's commands; exists. */
  readonly scratch: string;
}

/** Writes the tree as an ext4 disk owned by root throughout and of one date, without being root. Returns the disk's size in bytes. */
export async function writeExt4(
  tree: string,
  disk: string,
  { uuid, time, scratch }: Ext4Options,
  signal?: AbortSignal,
): Promise<number> {
  let content = 0;
  for await (const { stats } of walkTree(tree)) content += Math.ceil(stats.size / BLOCK) * BLOCK;
  const size = diskSizeFor(content);
  await formatExt4(tree, disk, { uuid, time, size }, signal);
  await assignToRoot({ disk, scratch, env: timeFor(time), signal }, time);
  return size;
}

/** mke2fs copies the builder's ids and times from the tree. Inodes are set by number, so no name has to be quoted. */
async function assignToRoot(debugfs: Debugfs, time: number): Promise<void> {
  const stamp = `@${String(time)}`;
  const fields = { uid: '0', gid: '0', atime: stamp, mtime: stamp, ctime: stamp, crtime: stamp };
  const commands: string[] = [];
  for (const inode of await usedInodes(debugfs))
    for (const [field, value] of Object.entries(fields))
      commands.push(`set_inode_field <${String(inode)}> ${field} ${value}`);
  await changeByDebugfs(debugfs, commands);
}

/**
 * @param files absolute paths that must be regular, non-empty files
 * @throws Corrupt unless the file system is clean and has them
 */
export async function validateExt4(
  disk: string,
  files: readonly string[],
  scratch: string,
  signal?: AbortSignal,
): Promise<void> {
  await runTool('e2fsck', ['-f', '-n', disk], { signal }).catch((error: unknown) => {
    if (!(error instanceof ToolFailure)) throw error;
    throw new Corrupt(`the new disk has errors: ${error.message}`, { reason: 'DISK_INVALID', cause: error });
  });
  const answers = await askDebugfs(
    { disk, scratch, signal },
    files.map((file) => `stat ${file}`),
    isFullFile,
  );
  const bad = files.filter((_, index) => answers[index] !== true);
  if (bad.length > 0)
    throw new Corrupt(`the new disk lacks ${bad.join(', ')}`, {
      reason: 'DISK_INVALID',
      metadata: { files: bad.join(',') },
    });
}

const isFullFile = (answer: string): boolean =>
  /^Inode: \d+ +Type: regular/m.test(answer) && /\bSize: [1-9]/.test(answer);
