import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Corrupt } from '@offshoot/shared/errors.js';
import { ROOT_INODE, askDebugfs, changeByDebugfs, inQuotes, usedInodes } from '../debugfs.js';
import { parseInode } from '../debugfs-inode.js';
import { shown } from '../tar/byte-string.js';
import { refused } from './image-refused.js';
import type { Debugfs } from '../debugfs.js';
import type { DebugfsInode } from '../debugfs-inode.js';
import type { DirectoryNode, ImageNode } from './image-tree.js';
import type { AbsentNode, LaidOutTree } from './lay-out-tree.js';

/** File type bits of an inode's mode (inode(7)), and debugfs's word for the type. */
const TYPES = {
  fifo: { bits: 0o010000, word: 'FIFO', letter: 'p' },
  character: { bits: 0o020000, word: 'character special', letter: 'c' },
  directory: { bits: 0o040000, word: 'directory', letter: '' },
  block: { bits: 0o060000, word: 'block special', letter: 'b' },
  file: { bits: 0o100000, word: 'regular', letter: '' },
  symlink: { bits: 0o120000, word: 'symlink', letter: '' },
} as const;

/** The last second an inode of ext4 can say: 34 bits, beginning at -2^31. */
const LAST_SECOND = 2 ** 34 - 2 ** 31 - 1;
/** debugfs takes no larger device numbers. */
const MAX_DEVICE_NUMBER = 65_535;
/** In one of the name spaces of xattr(7), and without what debugfs would take for more than one word. */
const XATTR_NAME = /^(?:user|trusted|security|system)\.[\x21\x23-\x7e]+$/;

/**
 * Gives a disk made of a laid out tree what laying it out would have needed root for: owners, modes, times, extended
 * attributes, devices. Read back afterwards, every inode.
 * @param time seconds since 1970 for what the image says nothing of: access, change and creation
 * @throws Corrupt (DISK_INVALID) when the disk then is not what it should be
 */
export async function setExt4Attributes(
  debugfs: Debugfs,
  { root, marked, absent }: Pick<LaidOutTree, 'root' | 'marked' | 'absent'>,
  time: number,
): Promise<void> {
  const inodes = (await findMarked(debugfs, marked)).set(ROOT_INODE, root);
  const folders = new Map<ImageNode, number>([...inodes].map(([inode, node]) => [node, inode]));
  await changeByDebugfs(debugfs, await makeAbsent(debugfs, absent, folders, inodes));
  await changeByDebugfs(debugfs, fieldCommands(inodes, time));
  await changeByDebugfs(debugfs, await xattrCommands(debugfs, inodes));
  await assertAsSet(debugfs, inodes);
}

function* fieldCommands(inodes: ReadonlyMap<number, ImageNode>, time: number): Generator<string> {
  const stamp = `@${String(time)}`;
  for (const [inode, { kind, attributes }] of inodes) {
    const fields = {
      mode: `0${(TYPES[kind].bits | attributes.mode).toString(8)}`,
      uid: String(attributes.uid),
      gid: String(attributes.gid),
      atime: stamp,
      ctime: stamp,
      crtime: stamp,
      mtime: `@${String(mtimeOf(attributes.mtime))}`,
    };
    for (const [field, value] of Object.entries(fields)) yield `set_inode_field <${String(inode)}> ${field} ${value}`;
  }
}

/** What is in each inode, found by the marks. */
async function findMarked(debugfs: Debugfs, marked: LaidOutTree['marked']): Promise<Map<number, ImageNode>> {
  const numbers = await usedInodes(debugfs);
  const answers = await askDebugfs(
    debugfs,
    numbers.map((inode) => `stat <${String(inode)}>`),
    (answer) => parseInode(answer)?.mtime,
  );
  const inodes = new Map<number, ImageNode>();
  numbers.forEach((inode, index) => {
    const node = marked.get(answers[index] ?? 0);
    if (node !== undefined) inodes.set(inode, node);
  });
  if (inodes.size !== marked.size)
    throw invalid(`${String(marked.size)} files were laid out, the disk has ${String(inodes.size)} of them`);
  return inodes;
}

/** Commands that make devices and FIFOs; mke2fs and debugfs number inodes without gaps. */
async function makeAbsent(
  debugfs: Debugfs,
  absent: readonly AbsentNode[],
  folders: ReadonlyMap<ImageNode, number>,
  inodes: Map<number, ImageNode>,
): Promise<string[]> {
  let inode = (await usedInodes(debugfs)).at(-1) ?? ROOT_INODE;
  const commands: string[] = [];
  for (const { node, names } of absent) {
    inode += 1;
    inodes.set(inode, node);
    if (Math.max(node.major, node.minor) > MAX_DEVICE_NUMBER)
      throw refused('IMAGE_CONTENT_INVALID', `a device has the number ${String(node.major)}:${String(node.minor)}`);
    const numbers = node.kind === 'fifo' ? '' : ` ${String(node.major)} ${String(node.minor)}`;
    names.forEach(({ folder, name }, index) => {
      commands.push(
        // Both together, or the name might come to be in another folder.
        `cd <${String(inodeOf(folder, folders))}>\n${
          index === 0
            ? `mknod ${quoted(name)} ${TYPES[node.kind].letter}${numbers}`
            : `ln <${String(inode)}> ${quoted(name)}`
        }`,
      );
    });
    // `ln` leaves the count as it is.
    if (names.length > 1) commands.push(`set_inode_field <${String(inode)}> links_count ${String(names.length)}`);
  }
  return commands;
}

function inodeOf(folder: DirectoryNode, folders: ReadonlyMap<ImageNode, number>): number {
  const inode = folders.get(folder);
  if (inode === undefined) throw invalid('the folder of a device is not in it');
  return inode;
}

/** debugfs's scripts are read by lines. */
function quoted(name: string): string {
  if (/[\n\r]/.test(name)) throw refused('IMAGE_CONTENT_INVALID', `${shown(name)} has a line break in its name`);
  return inQuotes(name);
}

async function xattrCommands({ scratch }: Debugfs, inodes: ReadonlyMap<number, ImageNode>): Promise<string[]> {
  const commands: string[] = [];
  let files = 0;
  for (const [inode, { attributes }] of inodes)
    for (const [name, value] of attributes.xattrs) {
      if (!XATTR_NAME.test(name))
        throw refused('IMAGE_CONTENT_INVALID', `an extended attribute is called ${shown(name)}`);
      const file = join(scratch, `xattr-${String(files++)}`);
      await writeFile(file, value);
      commands.push(`ea_set -f ${quoted(file)} <${String(inode)}> ${name}`);
    }
  return commands;
}

async function assertAsSet(debugfs: Debugfs, inodes: ReadonlyMap<number, ImageNode>): Promise<void> {
  const expected = [...inodes];
  const answers = await askDebugfs(
    debugfs,
    expected.map(([inode]) => `stat <${String(inode)}>`),
    parseInode,
  );
  expected.forEach(([inode, node], index) => {
    const problem = differenceOf(node, answers[index]);
    if (problem !== undefined) throw invalid(`inode ${String(inode)} ${problem}`);
  });
  const attributes = expected.flatMap(
    ([
      inode,
      {
        attributes: { xattrs },
      },
    ]) => [...xattrs].map(([name, value]) => ({ inode, name, value })),
  );
  const values = await askDebugfs(
    debugfs,
    attributes.map(({ inode, name }) => `ea_get -x <${String(inode)}> ${name}`),
    (answer) => / = ([0-9a-f ]*)$/m.exec(answer)?.[1]?.replaceAll(' ', '') ?? '',
  );
  attributes.forEach(({ inode, name, value }, index) => {
    if (values[index] !== asShown(name, value).toString('hex'))
      throw invalid(`inode ${String(inode)} has not the extended attribute ${name} it should have`);
  });
}

/**
 * ACLs are kept in another form on the disk, without the ids of those entries that are of nobody in particular; where the
 * kernel then says -1 for each, debugfs says 0. Entries of 8 bytes after 4 of version: tag, permissions, id (posix_acl_xattr.h).
 */
function asShown(name: string, value: Buffer): Buffer {
  if (!name.startsWith('system.posix_acl_')) return value;
  const shownValue = Buffer.from(value);
  for (let at = 4; at + 8 <= value.length; at += 8)
    if (!ACL_OF_SOMEBODY.has(value.readUInt16LE(at))) shownValue.writeUInt32LE(0, at + 4);
  return shownValue;
}

/** ACL_USER and ACL_GROUP. */
const ACL_OF_SOMEBODY = new Set([0x02, 0x08]);

function differenceOf({ kind, attributes, ...node }: ImageNode, inode: DebugfsInode | undefined): string | undefined {
  if (inode === undefined) return 'is not there';
  if (inode.type !== TYPES[kind].word) return `is a ${inode.type} instead of a ${TYPES[kind].word}`;
  for (const field of ['mode', 'uid', 'gid', 'mtime'] as const) {
    const value = field === 'mtime' ? mtimeOf(attributes.mtime) : attributes[field];
    if (inode[field] !== value) return `has the ${field} ${String(inode[field])} instead of ${String(value)}`;
  }
  if ('major' in node && kind !== 'fifo' && inode.device !== `${String(node.major)}:${String(node.minor)}`)
    return `is the device ${inode.device ?? 'none'}`;
  return undefined;
}

const mtimeOf = (seconds: number): number => Math.min(seconds, LAST_SECOND);

const invalid = (problem: string): Corrupt =>
  new Corrupt(`the new disk is not what was written: ${problem}`, { reason: 'DISK_INVALID' });
