import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Corrupt, InvalidInput, errnoOf } from '@offshoot/shared/errors.js';
import type { DiskFile } from '../ports/disk-preparer.js';
import { askDebugfs, changeByDebugfs, countIn, inQuotes, type Debugfs } from './debugfs.js';
import { parseInode, type DebugfsInode } from './debugfs-inode.js';
import { placeFiles, type Placement } from './file-places.js';
import { fromText } from './tar/byte-string.js';
import { runTool } from './tool.js';

/** File type bits of a regular file's mode (inode(7)). */
const REGULAR = 0o100000;

/**
 * Lays files on an ext4 disk by debugfs, and reads back all of them: content, mode, owner.
 * @throws InvalidInput for a file that cannot be where it is to be, or files that do not fit; Corrupt when the disk then is not
 *   what it should be
 */
export async function layFiles(debugfs: Debugfs, files: readonly DiskFile[]): Promise<void> {
  const placement = await placeFiles(debugfs, files);
  await assertRoom(debugfs, files, placement);
  const contents = files.map((_, i) => join(debugfs.scratch, `laid-file-${String(i)}`));
  try {
    for (const [i, { content }] of files.entries())
      await writeFile(contents[i] ?? '', content, { mode: 0o600, flag: 'wx' });
    await changeByDebugfs(debugfs, commandsFor(files, placement, contents));
  } finally {
    for (const path of contents) await rm(path, { force: true });
  }
  await assertLaid(debugfs, files);
}

/** Each one begins from an inode, since what a path leads to has been looked at. */
function* commandsFor(
  files: readonly DiskFile[],
  { folders, places }: Placement,
  contents: readonly string[],
): Generator<string> {
  const at = (folder: string): string => `./${folder}`; // a name like <5> would be an inode's
  const into = (inode: number, below: readonly string[]): string =>
    [`cd <${String(inode)}>`, ...below.map((name) => `cd ${inQuotes(at(name))}`)].join('\n');
  for (const { inode, below, name } of folders) yield `${into(inode, below)}\nmkdir ${inQuotes(at(name))}`;
  for (const [i, { mode, uid, gid }] of files.entries()) {
    const place = places[i];
    if (place === undefined) continue;
    const { inode, below, name, replaces } = place;
    const path = inQuotes(at(name));
    yield [
      into(inode, below),
      ...(replaces ? [`rm ${path}`] : []),
      `write ${inQuotes(fromText(contents[i] ?? ''))} ${inQuotes(name)}`,
      `set_inode_field ${path} mode 0${(REGULAR | mode).toString(8)}`,
      `set_inode_field ${path} uid ${String(uid)}`,
      `set_inode_field ${path} gid ${String(gid)}`,
    ].join('\n');
  }
}

/** Said before, in words for the caller: debugfs would say it of the one file that is too much, having written the others. */
async function assertRoom(
  { disk, signal }: Debugfs,
  files: readonly DiskFile[],
  { folders }: Placement,
): Promise<void> {
  const { stdout } = await runTool('debugfs', ['-R', 'show_super_stats -h', disk], { signal });
  const block = countIn(stdout, 'Block size');
  // And a block for what leads to a file's own, and one by which a folder may grow.
  const blocks = files.reduce((sum, { content }) => sum + Math.ceil(content.length / block) + 2, folders.length);
  const needed = { blocks, inodes: files.length + folders.length };
  const free = { blocks: countIn(stdout, 'Free blocks'), inodes: countIn(stdout, 'Free inodes') };
  if (needed.blocks <= free.blocks && needed.inodes <= free.inodes) return;
  throw InvalidInput.field(
    'files',
    `need ${String(needed.blocks * block)} bytes and ${String(needed.inodes)} inodes, the disk has ${String(free.blocks * block)} and ${String(free.inodes)} free: ask for a larger one by disk_bytes`,
    'DISK_FILES_TOO_LARGE',
  );
}

async function assertLaid(debugfs: Debugfs, files: readonly DiskFile[]): Promise<void> {
  const copies = files.map((_, i) => join(debugfs.scratch, `laid-file-${String(i)}-again`));
  try {
    const questions = files.flatMap(({ path }, i) => {
      const quoted = inQuotes(fromText(path));
      return [`stat ${quoted}`, `dump ${quoted} ${inQuotes(fromText(copies[i] ?? ''))}`];
    });
    const answers = await askDebugfs(debugfs, questions, parseInode);
    for (const [i, { path, content, ...attributes }] of files.entries()) {
      const problem =
        differenceOf(attributes, answers[2 * i]) ??
        ((await contentOf(copies[i] ?? ''))?.equals(content) === true ? undefined : 'has other content');
      if (problem !== undefined)
        throw new Corrupt(`the disk is not what was written: ${path} ${problem}`, { reason: 'DISK_INVALID' });
    }
  } finally {
    for (const path of copies) await rm(path, { force: true });
  }
}

/** Undefined where debugfs found nothing to copy. */
async function contentOf(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function differenceOf(wanted: Omit<DiskFile, 'path' | 'content'>, inode: DebugfsInode | undefined): string | undefined {
  if (inode === undefined) return 'is not there';
  if (inode.type !== 'regular') return `is a ${inode.type}`;
  for (const field of ['mode', 'uid', 'gid'] as const)
    if (inode[field] !== wanted[field])
      return `has the ${field} ${String(inode[field])} instead of ${String(wanted[field])}`;
  return undefined;
}
