/** Something in an initial RAM file system. Everything belongs to root; paths have no leading slash. */
export type ArchiveEntry =
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number }
  | { readonly kind: 'file'; readonly path: string; readonly mode: number; readonly content: Buffer }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };

const TYPE_BITS = { directory: 0o040000, file: 0o100000, link: 0o120000 } as const;

/**
 * A cpio archive in the format "newc" as the kernel unpacks it (Documentation/driver-api/early-userspace/
 * buffer-format.rst): header of 110 bytes, name and content each padded to 4 bytes. Written here rather than by cpio(1)
 * because owner, inode and time then depend on nothing but the entries, and no tree has to be laid out on disk.
 * Parents must come before what is in them.
 */
export function newcArchive(entries: readonly ArchiveEntry[]): Buffer {
  const parts = entries.flatMap((entry, index) => record(entry, index + 1));
  return Buffer.concat([...parts, ...record({ kind: 'file', path: 'TRAILER!!!', mode: 0, content: EMPTY }, 0)]);
}

const EMPTY = Buffer.alloc(0);

function record(entry: ArchiveEntry, inode: number): Buffer[] {
  const content = entry.kind === 'file' ? entry.content : entry.kind === 'link' ? Buffer.from(entry.target) : EMPTY;
  const name = Buffer.from(`${entry.path}\0`);
  const isTrailer = inode === 0;
  const mode = isTrailer ? 0 : TYPE_BITS[entry.kind] | (entry.kind === 'link' ? 0o777 : entry.mode);
  const links = entry.kind === 'directory' ? 2 : 1;
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const numbers = [inode, mode, 0, 0, links, 0, content.length, 0, 0, 0, 0, name.length, 0];
  const header = `070701${numbers.map((value) => value.toString(16).padStart(8, '0')).join('')}`;
  return [padded(Buffer.concat([Buffer.from(header), name])), padded(content)];
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
