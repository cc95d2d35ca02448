import { shown } from '../tar/byte-string.js';
import { refused } from './image-refused.js';
import type { ByteString } from '../tar/byte-string.js';

export interface Attributes {
  /** Permission bits and set-user-id, set-group-id, sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

interface OfAny {
  attributes: Attributes;
}
export type FileNode = OfAny & {
  readonly kind: 'file';
  /** A file on this machine, which becomes the image's. */
  readonly content: string;
  /** Of it, holes not counted. */
  readonly bytes: number;
};
export type SymlinkNode = OfAny & { readonly kind: 'symlink'; readonly target: ByteString };
export type SpecialNode = OfAny & {
  readonly kind: 'character' | 'block' | 'fifo';
  readonly major: number;
  readonly minor: number;
};
export type DirectoryNode = OfAny & { readonly kind: 'directory'; readonly children: Map<ByteString, Child> };
/** An inode: several names may have the same. */
export type ImageNode = FileNode | SymlinkNode | SpecialNode | DirectoryNode;

interface Child {
  readonly node: ImageNode;
  /** Number of the layer that last said something about this name, or about anything below it. */
  layer: number;
}

/** Links followed on the way to one name before the kernel gives up with ELOOP (path_resolution(7)). */
const MAX_LINKS = 40;
/** NAME_MAX of ext4. */
const MAX_NAME = 255;
/** PATH_MAX is 4096, of which the folder the tree is laid out in takes some. */
const MAX_PATH = 3800;

const FOLDER: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: new Map() };

/**
 * The root file system of an image while layers are put over each other, in memory but for the content of files. Links are
 * followed as a kernel would whose root this is; nothing on this machine is ever looked up through one.
 */
export class ImageTree {
  readonly root: DirectoryNode = directory(FOLDER);

  /** What a path leads to, a link at its end not followed; undefined when there is nothing. */
  lookUp(path: ByteString): ImageNode | undefined {
    const { names, last } = split(path);
    if (last === undefined) return this.root;
    const parent = this.walk(names, undefined, path);
    return parent?.at(-1)?.children.get(last)?.node;
  }

  /** As {@link lookUp}, a link at its end followed too. */
  follow(path: ByteString): ImageNode | undefined {
    let node = this.lookUp(path);
    let at = path;
    for (let links = 0; node?.kind === 'symlink' && links < MAX_LINKS; links++) {
      const { names } = split(at);
      at = node.target.startsWith('/') ? node.target : [...names, node.target].join('/');
      node = this.lookUpResolved(at);
    }
    return node;
  }

  /**
   * Puts something at a path; folders missing on the way are made. A folder over a folder keeps what is in it; anything else
   * takes the place of what was there.
   * @throws InvalidInput IMAGE_PATH_UNSAFE for a path that is absolute, climbs, or leads out of the image
   */
  place(path: ByteString, node: ImageNode, layer: number): void {
    const { names, last } = split(path);
    if (last === undefined) {
      if (node.kind !== 'directory') throw refused('IMAGE_CONTENT_INVALID', 'its root is no folder');
      this.root.attributes = node.attributes;
      return;
    }
    const folders = this.walk(names, layer, path) ?? [];
    const parent = folders.at(-1) ?? this.root;
    if (node.kind === 'symlink') assertStaysInside(path, node.target, folders.length - 1);
    const present = parent.children.get(last);
    if (present?.node.kind === 'directory' && node.kind === 'directory') {
      present.node.attributes = node.attributes;
      present.layer = layer;
    } else parent.children.set(last, { node, layer });
  }

  /** Gives a further name to what has one. @throws InvalidInput when there is nothing, or a folder */
  link(path: ByteString, target: ByteString, layer: number): void {
    const node = this.lookUp(target);
    if (node === undefined || node.kind === 'directory')
      throw refused(
        'IMAGE_CONTENT_INVALID',
        `${shown(path)} is a hard link to ${shown(target)}, which is ${node === undefined ? 'not there' : 'a folder'}`,
      );
    this.place(path, node, layer);
  }

  /** Takes away what layers before this one have at a path, and below it. */
  hide(path: ByteString, layer: number): void {
    const { names, last } = split(path);
    const parent = this.walk(names, undefined, path)?.at(-1);
    if (parent !== undefined && last !== undefined) prune(parent, last, layer);
  }

  /** Takes away all that layers before this one have in a folder. */
  hideChildren(path: ByteString, layer: number): void {
    const folder = this.lookUp(path);
    if (folder?.kind === 'directory') for (const name of folder.children.keys()) prune(folder, name, layer);
  }

  private lookUpResolved(path: ByteString): ImageNode | undefined {
    const names = path.split('/').filter((name) => name !== '' && name !== '.');
    const last = names.pop();
    if (last === undefined) return this.root;
    if (last === '..') return this.walk([...names, last], undefined, path)?.at(-1);
    return this.walk(names, undefined, path)?.at(-1)?.children.get(last)?.node;
  }

  /**
   * The folders from the root to where the names lead.
   * @param layer makes folders that are missing; undefined: answers undefined where one is
   */
  private walk(
    names: readonly ByteString[],
    layer: number | undefined,
    path: ByteString,
  ): [DirectoryNode, ...DirectoryNode[]] | undefined {
    const folders: [DirectoryNode, ...DirectoryNode[]] = [this.root];
    const ahead = [...names].reverse();
    let links = 0;
    for (let name = ahead.pop(); name !== undefined; name = ahead.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (folders.length === 1)
          throw refused('IMAGE_PATH_UNSAFE', `${shown(path)} leads through a link out of the image`);
        folders.pop();
        continue;
      }
      const parent = folders.at(-1) ?? this.root;
      let child = parent.children.get(name);
      if (child === undefined) {
        if (layer === undefined) return undefined;
        child = { node: directory(FOLDER), layer };
        parent.children.set(name, child);
      }
      if (child.node.kind === 'directory') {
        if (layer !== undefined) child.layer = layer;
        folders.push(child.node);
      } else if (child.node.kind === 'symlink') {
        if (++links > MAX_LINKS)
          throw refused('IMAGE_PATH_UNSAFE', `${shown(path)} leads through more than ${String(MAX_LINKS)} links`);
        if (child.node.target.startsWith('/')) folders.length = 1;
        ahead.push(...child.node.target.split('/').reverse());
      } else if (layer === undefined) return undefined;
      else throw refused('IMAGE_CONTENT_INVALID', `${shown(path)} is in ${shown(name)}, which is no folder`);
    }
    return folders;
  }
}

export const directory = (attributes: Attributes): DirectoryNode => ({
  kind: 'directory',
  attributes,
  children: new Map(),
});

function prune(parent: DirectoryNode, name: ByteString, layer: number): void {
  const child = parent.children.get(name);
  if (child === undefined) return;
  if (child.node.kind === 'directory') for (const below of child.node.children.keys()) prune(child.node, below, layer);
  if (child.layer < layer) parent.children.delete(name);
}

/** @throws InvalidInput for what is no plain relative path */
function split(path: ByteString): { names: ByteString[]; last: ByteString | undefined } {
  if (path.startsWith('/')) throw refused('IMAGE_PATH_UNSAFE', `${shown(path)} is an absolute path`);
  if (path.includes('\0')) throw refused('IMAGE_PATH_UNSAFE', `${shown(path)} has a NUL in it`);
  if (path.length > MAX_PATH)
    throw refused('IMAGE_PATH_UNSAFE', `a path has ${String(path.length)} bytes, more than ${String(MAX_PATH)}`);
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  for (const name of names) {
    if (name === '..') throw refused('IMAGE_PATH_UNSAFE', `${shown(path)} climbs with ..`);
    if (name.length > MAX_NAME)
      throw refused('IMAGE_PATH_UNSAFE', `a name has ${String(name.length)} bytes, more than ${String(MAX_NAME)}`);
  }
  return { names, last: names.pop() };
}

/** @param depth of the folder the link is in, 0 for the root */
function assertStaysInside(path: ByteString, target: ByteString, depth: number): void {
  if (target === '' || target.includes('\0') || target.length >= 4096)
    throw refused('IMAGE_PATH_UNSAFE', `${shown(path)} is a link to ${shown(target.slice(0, 100))}`);
  let at = target.startsWith('/') ? 0 : depth;
  for (const name of target.split('/')) {
    if (name === '' || name === '.') continue;
    at += name === '..' ? -1 : 1;
    if (at < 0) throw refused('IMAGE_PATH_UNSAFE', `${shown(path)} is a link out of the image: ${shown(target)}`);
  }
}
