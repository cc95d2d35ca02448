import { link, lutimes, mkdir, rename, symlink, utimes } from 'node:fs/promises';
import { BLOCK } from '../ext4-disk.js';
import { toBytes } from '../tar/byte-string.js';
import type { ByteString } from '../tar/byte-string.js';
import type { DirectoryNode, ImageNode, ImageTree, SpecialNode } from './image-tree.js';

/** A device or FIFO, which only root could lay out: it is made in the finished disk. */
export interface AbsentNode {
  readonly node: SpecialNode;
  /** Its names, each with the folder it is in. */
  readonly names: { readonly folder: DirectoryNode; readonly name: ByteString }[];
}

export interface LaidOutTree {
  readonly root: DirectoryNode;
  /** What is there below the root, by its mark: the modification time of its file, in seconds since 1970. */
  readonly marked: ReadonlyMap<number, ImageNode>;
  readonly absent: readonly AbsentNode[];
  /** Inodes, the absent ones too. */
  readonly inodes: number;
  /** What all of it takes of a disk, in bytes. */
  readonly bytes: number;
}

/**
 * Makes folders, files (moved from where their content is), hard and symbolic links below `folder`, all as whoever runs
 * this. Owners, modes and times would need root: instead each inode is marked by its modification time, by which it is
 * found again in the disk made of this tree.
 * @param folder exists and is empty
 */
export async function layOutTree(tree: ImageTree, folder: string): Promise<LaidOutTree> {
  const marked = new Map<number, ImageNode>();
  const absent = new Map<ImageNode, AbsentNode>();
  /** Where an inode with several names has its first. */
  const paths = new Map<ImageNode, Buffer>();
  let inodes = 0;
  let bytes = 0;

  const mark = async (path: Buffer, node: ImageNode): Promise<void> => {
    // 0 would be what a file system without times gives.
    const seconds = marked.size + 1;
    marked.set(seconds, node);
    if (node.kind === 'symlink') await lutimes(path, seconds, seconds);
    else await utimes(path, seconds, seconds);
  };

  const layOutFolder = async (node: DirectoryNode, path: Buffer): Promise<void> => {
    inodes += 1;
    bytes += BLOCK;
    for (const [name, { node: child }] of node.children) {
      // Of its folder: an entry, and half as much again, for blocks are split when they are full.
      bytes += (8 + name.length) * 1.5;
      const at = Buffer.concat([path, SLASH, toBytes(name)]);
      const first = paths.get(child);
      if (first !== undefined) {
        await link(first, at);
        continue;
      }
      if (child.kind === 'directory') {
        await mkdir(at, 0o700);
        await layOutFolder(child, at);
        // Last: every name made in it gives it another time.
        await mark(at, child);
        continue;
      }
      if (child.kind === 'file' || child.kind === 'symlink') {
        if (child.kind === 'file') await rename(child.content, at);
        else await symlink(toBytes(child.target), at);
        paths.set(child, at);
        inodes += 1;
        bytes += child.kind === 'file' ? Math.ceil(child.bytes / BLOCK) * BLOCK : BLOCK;
        await mark(at, child);
        continue;
      }
      const known = absent.get(child);
      if (known === undefined) {
        inodes += 1;
        absent.set(child, { node: child, names: [{ folder: node, name }] });
      } else known.names.push({ folder: node, name });
    }
  };

  await layOutFolder(tree.root, Buffer.from(folder));
  return { root: tree.root, marked, absent: [...absent.values()], inodes, bytes };
}

const SLASH = Buffer.from('/');
