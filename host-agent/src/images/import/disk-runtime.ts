import { open, stat } from 'node:fs/promises';
import { Corrupt } from '@offshoot/shared/errors.js';
import { BLOCK } from '../ext4-disk.js';
import { askDebugfs, changeByDebugfs, countIn } from '../debugfs.js';
import { parseInode } from '../debugfs-inode.js';
import { ToolFailure, runTool } from '../tool.js';
import { refused } from './image-refused.js';
import type { Debugfs } from '../debugfs.js';
import type { DirectoryNode, ImageTree } from './image-tree.js';

/** Left free for the guest beyond what is added, in bytes: that of disks made here at least. */
const ROOM = 128 * 2 ** 20;
/** Inodes left free beyond those that are added. */
const SPARE_INODES = 1000;

/**
 * Writes a tree (of folders, plain files and links with simple names: the runtime's) into a disk that is ready otherwise.
 * The disk's journal is replayed first, and the disk grown where it is too full.
 * @throws InvalidInput IMAGE_CONTENT_INVALID for a disk with errors, or that cannot hold it
 */
export async function addToDisk(debugfs: Debugfs, tree: ImageTree): Promise<void> {
  const { disk, signal } = debugfs;
  await repair(disk, signal);
  const parts = partsOf(tree.root, '');
  await makeRoom(debugfs, parts);
  const present = await askDebugfs(
    debugfs,
    parts.map(({ path }) => `stat ${path}`),
    parseInode,
  );
  const commands: string[] = [];
  parts.forEach(({ path, node }, index) => {
    const there = present[index];
    if (node.kind === 'directory') {
      if (there !== undefined && there.type !== 'directory')
        throw refused('IMAGE_CONTENT_INVALID', `its ${path} is a ${there.type} instead of a folder`);
      if (there !== undefined) return;
      commands.push(`mkdir ${path}`);
    } else {
      if (there?.type === 'directory') throw refused('IMAGE_CONTENT_INVALID', `its ${path} is a folder`);
      if (there !== undefined) commands.push(`rm ${path}`);
      commands.push(node.kind === 'symlink' ? `symlink ${path} ${node.target}` : `write ${node.content} ${path}`);
    }
    const { mode, mtime } = node.attributes;
    if (node.kind !== 'symlink')
      commands.push(
        `set_inode_field ${path} mode 0${((node.kind === 'directory' ? 0o040000 : 0o100000) | mode).toString(8)}`,
      );
    commands.push(
      `set_inode_field ${path} uid 0`,
      `set_inode_field ${path} gid 0`,
      `set_inode_field ${path} mtime @${String(mtime)}`,
    );
  });
  await changeByDebugfs(debugfs, commands);
  await assertWritten(debugfs, parts);
}

type Part = { readonly path: string; readonly node: DirectoryNode } | FilePart;
interface FilePart {
  readonly path: string;
  readonly node: Exclude<
    ReturnType<ImageTree['lookUp']>,
    undefined | DirectoryNode | { kind: 'fifo' | 'block' | 'character' }
  >;
}

/** Folders before what is in them. */
function partsOf(folder: DirectoryNode, prefix: string): Part[] {
  return [...folder.children].flatMap(([name, { node }]): Part[] => {
    const path = `${prefix}/${name}`;
    if (!/^[\w./+-]+$/.test(path)) throw new TypeError(`${path} would have to be quoted`);
    if (node.kind === 'directory') return [{ path, node }, ...partsOf(node, path)];
    if (node.kind === 'file' || node.kind === 'symlink') return [{ path, node }];
    throw new TypeError(`${path} is a ${node.kind}`);
  });
}

/** e2fsck(8): 1 is "errors corrected", which a replayed journal is. */
async function repair(disk: string, signal: AbortSignal | undefined): Promise<void> {
  await runTool('e2fsck', ['-f', '-p', disk], { signal }).catch((error: unknown) => {
    if (!(error instanceof ToolFailure)) throw error;
    if (error.exitCode === 1) return;
    throw refused('IMAGE_CONTENT_INVALID', `its file system has errors: ${error.message}`, {}, error);
  });
}

async function makeRoom({ disk, signal }: Debugfs, parts: readonly Part[]): Promise<void> {
  let needed = ROOM;
  for (const { node } of parts) if (node.kind === 'file') needed += (await stat(node.content)).size + BLOCK;
  const { stdout } = await runTool('debugfs', ['-R', 'show_super_stats -h', disk], { signal });
  if (countIn(stdout, 'Free inodes') < parts.length + SPARE_INODES)
    throw refused('IMAGE_CONTENT_INVALID', 'its file system has too few free inodes for the agent');
  const free = countIn(stdout, 'Free blocks') * countIn(stdout, 'Block size');
  if (free >= needed) return;
  {
    await using file = await open(disk, 'r+');
    const { size } = await file.stat();
    // Half as much again for the tables of what is added.
    await file.truncate(Math.ceil((size + (needed - free) * 1.5) / 2 ** 22) * 2 ** 22);
  }
  await runTool('resize2fs', [disk], { signal });
}

async function assertWritten(debugfs: Debugfs, parts: readonly Part[]): Promise<void> {
  const inodes = await askDebugfs(
    debugfs,
    parts.map(({ path }) => `stat ${path}`),
    parseInode,
  );
  for (const [index, { path, node }] of parts.entries()) {
    const inode = inodes[index];
    const size = node.kind === 'file' ? (await stat(node.content)).size : undefined;
    const isRight =
      inode !== undefined &&
      (size === undefined || (inode.size === size && inode.mode === node.attributes.mode && inode.uid === 0));
    if (!isRight)
      throw new Corrupt(`the new disk has not ${path} as it was written`, {
        reason: 'DISK_INVALID',
        metadata: { files: path },
      });
  }
}
