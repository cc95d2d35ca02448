import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Corrupt } from '@offshoot/shared/errors.js';
import { ToolFailure, runTool } from './tool.js';
import { walkTree } from './walk-tree.js';

const BLOCK = 4096;
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

export interface Ext4Options {
  /** Also seeds the hashes of folders: equal trees give equal disks. */
  readonly uuid: string;
  /** Seconds since 1970 for everything the file system dates. */
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
  {
    await using file = await open(disk, 'wx', 0o644);
    await file.truncate(size);
  }
  // Newer mke2fs knows SOURCE_DATE_EPOCH, older ones only the other.
  const env = { E2FSPROGS_FAKE_TIME: String(time), SOURCE_DATE_EPOCH: String(time) };
  // Tables are written now (holes in a new file): otherwise each guest's kernel fills them in, in every fork anew.
  const extended = ['root_owner=0:0', `hash_seed=${uuid}`, 'lazy_itable_init=0', 'lazy_journal_init=0'].join(',');
  await runTool(
    'mkfs.ext4',
    ['-q', '-F', '-b', String(BLOCK), '-I', '256', '-i', '16384', '-m', '0', '-O', FEATURES].concat([
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
    { env, signal },
  );
  await assignToRoot(disk, { time, scratch, env }, signal);
  return size;
}

/**
 * mke2fs copies the builder's ids and times from the tree. Inodes are numbered without gaps from 11 (lost+found),
 * so every one is set by number and no name has to be quoted.
 */
async function assignToRoot(
  disk: string,
  { time, scratch, env }: { time: number; scratch: string; env: Readonly<Record<string, string>> },
  signal: AbortSignal | undefined,
): Promise<void> {
  const header = await runTool('debugfs', ['-R', 'show_super_stats -h', disk], { signal });
  const total = countIn(header.stdout, 'Inode count');
  const used = total - countIn(header.stdout, 'Free inodes');
  const stamp = `@${String(time)}`;
  const fields = { uid: '0', gid: '0', atime: stamp, mtime: stamp, ctime: stamp, crtime: stamp };
  const commands: string[] = [];
  for (const inode of [2, ...Array.from({ length: used - 10 }, (_, index) => index + 11)])
    for (const [field, value] of Object.entries(fields))
      commands.push(`set_inode_field <${String(inode)}> ${field} ${value}`);
  const script = join(scratch, 'set-owners');
  await writeFile(script, `${commands.join('\n')}\n`);
  const { stderr } = await runTool('debugfs', ['-w', '-f', script, disk], { env, signal });
  assertQuiet(stderr, disk);
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
  const script = join(scratch, 'check-files');
  await writeFile(script, files.map((file) => `stat ${file}\n`).join(''));
  // debugfs ends with 0 whatever happened, echoes each command, and answers nothing where it finds nothing.
  const { stdout } = await runTool('debugfs', ['-f', script, disk], { signal });
  const answers = stdout.split(/^debugfs: /m).slice(1);
  const bad = files.filter((_, index) => !isFullFile(answers[index] ?? ''));
  if (bad.length > 0)
    throw new Corrupt(`the new disk lacks ${bad.join(', ')}`, {
      reason: 'DISK_INVALID',
      metadata: { files: bad.join(',') },
    });
}

const isFullFile = (answer: string): boolean =>
  /^Inode: \d+ +Type: regular/m.test(answer) && /\bSize: [1-9]/.test(answer);

function countIn(text: string, label: string): number {
  const value = new RegExp(`^${label}: +(\\d+)$`, 'm').exec(text)?.[1];
  if (value === undefined) throw new Corrupt(`debugfs shows no "${label}"`, { reason: 'DISK_INVALID' });
  return Number(value);
}

/** On stderr debugfs says its version and what went wrong; nothing else. */
function assertQuiet(stderr: string, disk: string): void {
  const complaints = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('debugfs 1.'));
  if (complaints.length > 0)
    throw new Corrupt(`debugfs on ${disk}: ${complaints.slice(0, 3).join('; ')}`, { reason: 'DISK_INVALID' });
}
