import { shown } from '../tar/byte-string.js';
import { refused } from './image-refused.js';
import { directory } from './image-tree.js';
import type { ByteString } from '../tar/byte-string.js';
import type { TarEntry } from '../tar/read-tar.js';
import type { ContentStore } from './content-store.js';
import type { Attributes, ImageNode, ImageTree } from './image-tree.js';
import type { ImportBudget } from './import-limits.js';

/** OCI image specification, "Layer Filesystem Changeset", whiteouts. */
const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** What aufs kept for itself in layers of old Dockers; no file of an image. */
const AUFS = '.wh..wh.';

export interface LayerOptions {
  /** From 0, ascending. */
  readonly number: number;
  /** Whether names that begin with `.wh.` take away what is below; in a tar that is no layer they are names. */
  readonly whiteouts: boolean;
}

/** Puts the entries of a tar over what is in the tree. */
export async function applyLayer(
  entries: AsyncIterable<TarEntry>,
  tree: ImageTree,
  store: ContentStore,
  budget: ImportBudget,
  { number, whiteouts }: LayerOptions,
): Promise<void> {
  for await (const entry of entries) {
    budget.takeEntry(sizeOfNames(entry));
    if (whiteouts && applyWhiteout(entry.path, tree, number)) continue;
    if (entry.kind === 'hardLink') tree.link(entry.path, entry.target, number);
    else tree.place(entry.path, await nodeOf(entry, store), number);
  }
}

function applyWhiteout(path: ByteString, tree: ImageTree, layer: number): boolean {
  const slash = path.replace(/\/+$/, '').lastIndexOf('/');
  const folder = path.slice(0, slash + 1);
  const name = path.slice(slash + 1).replace(/\/+$/, '');
  if (!name.startsWith(WHITEOUT)) return false;
  if (name === OPAQUE) tree.hideChildren(folder, layer);
  else if (!name.startsWith(AUFS)) {
    const hidden = name.slice(WHITEOUT.length);
    if (hidden === '' || hidden === '.' || hidden === '..')
      throw refused('IMAGE_LAYOUT_INVALID', `the whiteout ${shown(path)} names nothing`);
    tree.hide(`${folder}${hidden}`, layer);
  }
  return true;
}

async function nodeOf(entry: TarEntry, store: ContentStore): Promise<ImageNode> {
  const { mode, uid, gid, mtime, xattrs, major, minor } = entry;
  const attributes: Attributes = { mode, uid: id(entry, uid), gid: id(entry, gid), mtime, xattrs };
  switch (entry.kind) {
    case 'file':
      return { kind: 'file', attributes, ...(await store.keep(entry)) };
    case 'directory':
      return directory(attributes);
    case 'symlink':
      return { kind: 'symlink', attributes, target: entry.target };
    default:
      return { kind: entry.kind as 'character' | 'block' | 'fifo', attributes, major, minor };
  }
}

/** uid_t and gid_t have 32 bits, of which all set means "unchanged" (chown(2)). */
function id(entry: TarEntry, value: number): number {
  if (value < 2 ** 32 - 1) return value;
  throw refused('IMAGE_CONTENT_INVALID', `${shown(entry.path)} belongs to the user or group ${String(value)}`);
}

function sizeOfNames({ path, target, xattrs }: TarEntry): number {
  let bytes = path.length + target.length;
  for (const [name, value] of xattrs) bytes += name.length + value.length;
  return bytes;
}
