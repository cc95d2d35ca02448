import { TAR_BLOCK, numberIn } from './tar-header.js';
import { malformedTar } from './malformed-tar.js';
import { paxNumber } from './pax-records.js';
import type { ByteReader } from './byte-reader.js';
import type { PaxRecords } from './pax-records.js';

/** A stretch of a file that the tar has data of; all others are holes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

export interface SparseMap {
  /** Length of the file with its holes, in bytes. */
  readonly size: number;
  /** In order, without overlaps. */
  readonly extents: readonly Extent[];
  /** Bytes of the entry's data the map itself took. */
  readonly mapBytes: number;
}

/** Files of more pieces are no files of a root disk but an attack on the reader's memory. */
const MAX_EXTENTS = 1_000_000;

/** GNU's old format, entry type `S`: four extents in the header, 21 in each block that follows for as long as it says so. */
export async function readOldSparseMap(header: Buffer, reader: ByteReader, dataBytes: number): Promise<SparseMap> {
  const extents: Extent[] = [];
  const take = (block: Buffer, start: number, count: number): void => {
    for (let index = 0; index < count; index++) {
      const at = start + index * 24;
      if (block[at] === 0) break;
      extents.push({ offset: numberIn(block, [at, 12]), length: numberIn(block, [at + 12, 12]) });
    }
  };
  take(header, 386, 4);
  const size = numberIn(header, [483, 12]);
  for (let more = header[482]; more !== undefined && more !== 0;) {
    const block = await reader.read(TAR_BLOCK);
    if (block.length < TAR_BLOCK || extents.length > MAX_EXTENTS) throw malformedTar('a map of holes has no end');
    take(block, 0, 21);
    more = block[504];
  }
  return checked({ size, extents, mapBytes: 0 }, dataBytes);
}

/** GNU's formats in extended headers: 0.1 has the map in a record, 1.0 at the beginning of the data. Undefined without. */
export async function readPaxSparseMap(
  records: PaxRecords,
  reader: ByteReader,
  dataBytes: number,
): Promise<SparseMap | undefined> {
  if (records.get('GNU.sparse.major') === '1') {
    const size = paxNumber(records, 'GNU.sparse.realsize') ?? 0;
    const { numbers, bytes } = await readNumbers(reader, dataBytes);
    return checked({ size, extents: pairs(numbers), mapBytes: bytes }, dataBytes);
  }
  const map = records.get('GNU.sparse.map');
  if (map !== undefined) {
    const numbers = map.split(',').map(Number);
    return checked(
      { size: paxNumber(records, 'GNU.sparse.size') ?? 0, extents: pairs(numbers), mapBytes: 0 },
      dataBytes,
    );
  }
  if (records.has('GNU.sparse.numblocks'))
    throw malformedTar('it has sparse files in the format 0.0 of GNU tar: make it with --sparse-version=1.0');
  return undefined;
}

/** Decimal numbers, a line each, the first the number of extents; filled up with zeros to whole blocks. */
async function readNumbers(reader: ByteReader, dataBytes: number): Promise<{ numbers: number[]; bytes: number }> {
  let text = '';
  for (let bytes = 0; bytes < dataBytes;) {
    const block = await reader.read(TAR_BLOCK);
    if (block.length < TAR_BLOCK) break;
    bytes += TAR_BLOCK;
    text += block.toString('latin1');
    const lines = text.split('\n');
    const count = lines.length > 1 ? Number(lines[0]) : undefined;
    if (count !== undefined && !(count <= MAX_EXTENTS)) break;
    if (count !== undefined && lines.length > 1 + 2 * count)
      return { numbers: lines.slice(1, 1 + 2 * count).map(Number), bytes };
  }
  throw malformedTar('a map of holes has no end');
}

const pairs = (numbers: readonly number[]): Extent[] =>
  Array.from({ length: Math.ceil(numbers.length / 2) }, (_, index) => ({
    offset: numbers[2 * index] ?? NaN,
    length: numbers[2 * index + 1] ?? NaN,
  }));

function checked(map: SparseMap, dataBytes: number): SparseMap {
  let end = 0;
  let data = 0;
  for (const { offset, length } of map.extents) {
    if (!(offset >= end) || !(length >= 0)) throw malformedTar('a map of holes is not in order');
    end = offset + length;
    data += length;
  }
  if (end > map.size || data !== dataBytes - map.mapBytes)
    throw malformedTar('a map of holes does not fit the data that follows');
  return map;
}
