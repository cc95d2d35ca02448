import { ByteReader } from './byte-reader.js';
import { fromBytes, shown, toBytes } from './byte-string.js';
import { drain } from './drain.js';
import { malformedTar } from './malformed-tar.js';
import { parsePaxRecords, paxNumber } from './pax-records.js';
import { readOldSparseMap, readPaxSparseMap } from './sparse-map.js';
import { TAR_BLOCK, decodeHeader } from './tar-header.js';
import type { ByteString } from './byte-string.js';
import type { PaxRecords } from './pax-records.js';
import type { Extent, SparseMap } from './sparse-map.js';
import type { TarHeader } from './tar-header.js';

export type TarEntryKind = 'file' | 'hardLink' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

export interface TarEntry {
  readonly kind: TarEntryKind;
  /** As written: it may be absolute, or climb. */
  readonly path: ByteString;
  /** Of links. */
  readonly target: ByteString;
  /** Permission bits and set-user-id, set-group-id, sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Of devices. */
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
  /** Length in bytes, holes counted. */
  readonly size: number;
  /** Where the content goes; one extent unless the file has holes. */
  readonly extents: readonly Extent[];
  /** Where the content begins in the tar, in bytes. */
  readonly contentOffset: number;
  /** The extents' bytes one after the other. To be read, once, before the next entry is asked for; or not at all. */
  readonly content: () => AsyncIterable<Buffer>;
}

const KINDS: Readonly<Record<string, TarEntryKind>> = {
  '0': 'file',
  '1': 'hardLink',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  // "Contiguous", which no system has had for decades.
  '7': 'file',
  S: 'file',
};

/** Extended attributes of a file are at most 64 KiB and its path 4 KiB: a longer header is an attack on the reader's memory. */
const MAX_EXTENDED_HEADER = 2 ** 20;
const XATTR_PREFIX = 'SCHILY.xattr.';
/** One for all, of which there may be hundreds of thousands. */
const NONE: ReadonlyMap<string, Buffer> = new Map();

/** The entries of a tar: POSIX ustar and pax, GNU with long names, sparse files and numbers beyond octal. */
export async function* readTar(source: AsyncIterable<Buffer>): AsyncGenerator<TarEntry, void, undefined> {
  const reader = new ByteReader(source);
  let globals: PaxRecords = new Map();
  let locals: PaxRecords = new Map();
  for (;;) {
    const block = await reader.read(TAR_BLOCK);
    if (block.length < TAR_BLOCK)
      throw malformedTar('it ends without the blocks of zeros at its end: it was cut short');
    const header = decodeHeader(block);
    if (header === undefined) return;
    if (header.type === 'g') globals = new Map([...globals, ...parsePaxRecords(await readExtension(reader, header))]);
    else if (header.type === 'x')
      locals = new Map([...locals, ...parsePaxRecords(await readExtension(reader, header))]);
    else if (header.type === 'L' || header.type === 'K')
      locals = new Map([...locals, [header.type === 'L' ? 'path' : 'linkpath', await readLongName(reader, header)]]);
    else {
      const records = new Map([...globals, ...locals]);
      locals = new Map();
      yield* entry(reader, block, header, records);
    }
  }
}

async function* entry(
  reader: ByteReader,
  block: Buffer,
  header: TarHeader,
  records: PaxRecords,
): AsyncGenerator<TarEntry, void, undefined> {
  const path = records.get('GNU.sparse.name') ?? records.get('path') ?? header.name;
  const kind = KINDS[header.type];
  if (kind === undefined) throw malformedTar(`${shown(path)} is of the type ${shown(header.type)}, which is not known`);
  // Of all others a size is said by some writers, and has no data to it.
  const stored = kind === 'file' ? (paxNumber(records, 'size') ?? header.size) : 0;
  const map = await sparseMapOf(reader, block, header, records, stored);
  const dataBytes = stored - (map?.mapBytes ?? 0);
  const contentOffset = reader.position;
  const end = contentOffset + Math.ceil(stored / TAR_BLOCK) * TAR_BLOCK - (map?.mapBytes ?? 0);
  yield {
    kind,
    path,
    target: records.get('linkpath') ?? header.linkName,
    mode: header.mode & 0o7777,
    uid: paxNumber(records, 'uid') ?? header.uid,
    gid: paxNumber(records, 'gid') ?? header.gid,
    mtime: paxNumber(records, 'mtime') ?? header.mtime,
    major: header.major,
    minor: header.minor,
    xattrs: xattrsIn(records),
    size: map?.size ?? dataBytes,
    extents: map?.extents ?? (dataBytes === 0 ? [] : [{ offset: 0, length: dataBytes }]),
    contentOffset,
    content: () => content(reader, contentOffset + dataBytes, path),
  };
  await drain(reader.stream(end - reader.position));
  if (reader.position < end) throw cutShort(path);
}

async function* content(reader: ByteReader, end: number, path: ByteString): AsyncGenerator<Buffer, void, undefined> {
  yield* reader.stream(end - reader.position);
  if (reader.position < end) throw cutShort(path);
}

async function sparseMapOf(
  reader: ByteReader,
  block: Buffer,
  header: TarHeader,
  records: PaxRecords,
  stored: number,
): Promise<SparseMap | undefined> {
  if (header.type === 'S') return readOldSparseMap(block, reader, stored);
  return header.type === '0' ? readPaxSparseMap(records, reader, stored) : undefined;
}

async function readExtension(reader: ByteReader, { size }: TarHeader): Promise<Buffer> {
  if (size > MAX_EXTENDED_HEADER)
    throw malformedTar(`an extended header has ${String(size)} bytes, more than ${String(MAX_EXTENDED_HEADER)}`);
  const data = await reader.read(Math.ceil(size / TAR_BLOCK) * TAR_BLOCK);
  if (data.length < size) throw malformedTar('it was cut short in an extended header');
  return data.subarray(0, size);
}

async function readLongName(reader: ByteReader, header: TarHeader): Promise<ByteString> {
  const data = await readExtension(reader, header);
  const end = data.indexOf(0);
  return fromBytes(end < 0 ? data : data.subarray(0, end));
}

function xattrsIn(records: PaxRecords): ReadonlyMap<string, Buffer> {
  let xattrs: Map<string, Buffer> | undefined;
  for (const [keyword, value] of records)
    if (keyword.startsWith(XATTR_PREFIX))
      (xattrs ??= new Map()).set(keyword.slice(XATTR_PREFIX.length), toBytes(value));
  return xattrs ?? NONE;
}

const cutShort = (path: ByteString): Error => malformedTar(`it was cut short in ${shown(path)}`);
