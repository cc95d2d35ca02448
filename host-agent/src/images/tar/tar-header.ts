import { fromBytes, shown } from './byte-string.js';
import { malformedTar } from './malformed-tar.js';
import type { ByteString } from './byte-string.js';

/** Everything in a tar is in units of this many bytes. */
export const TAR_BLOCK = 512;

/** One header block as it stands, without what extended headers before it say. */
export interface TarHeader {
  readonly name: ByteString;
  readonly linkName: ByteString;
  /** One character; the empty one of old tars is '0'. */
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of data after the header. */
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
}

/** Offset and length of the fields: POSIX ustar, tar(5). */
const FIELD = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  magic: [257, 6],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
} as const;

/** Undefined for the block of zeros that ends an archive. */
export function decodeHeader(block: Buffer): TarHeader | undefined {
  if (block.every((byte) => byte === 0)) return undefined;
  if (!hasChecksum(block)) throw malformedTar('a header does not have the checksum it says');
  const magic = text(block, FIELD.magic);
  const name = text(block, FIELD.name);
  // GNU's own format ("ustar  ") has other things where POSIX has the prefix.
  const prefix = magic === 'ustar' ? text(block, FIELD.prefix) : '';
  const path = prefix === '' ? name : `${prefix}/${name}`;
  const said = text(block, FIELD.type);
  const isDirectoryByName = (said === '' || said === '0') && path.endsWith('/');
  return {
    name: path,
    linkName: text(block, FIELD.linkName),
    type: isDirectoryByName ? '5' : said === '' ? '0' : said,
    mode: numberIn(block, FIELD.mode),
    uid: numberIn(block, FIELD.uid),
    gid: numberIn(block, FIELD.gid),
    size: numberIn(block, FIELD.size),
    mtime: numberIn(block, FIELD.mtime),
    major: numberIn(block, FIELD.major),
    minor: numberIn(block, FIELD.minor),
  };
}

/** The sum of all bytes with those of the checksum taken as spaces. */
function hasChecksum(block: Buffer): boolean {
  const [start, length] = FIELD.checksum;
  let sum = length * 0x20;
  for (let at = 0; at < TAR_BLOCK; at++) if (at < start || at >= start + length) sum += block[at] ?? 0;
  return sum === numberIn(block, FIELD.checksum);
}

function text(block: Buffer, [start, length]: readonly [number, number]): ByteString {
  const field = block.subarray(start, start + length);
  const end = field.indexOf(0);
  return fromBytes(end < 0 ? field : field.subarray(0, end));
}

/** Octal digits, or (GNU) a big-endian number whose first bit is set. */
export function numberIn(block: Buffer, [start, length]: readonly [number, number]): number {
  const field = block.subarray(start, start + length);
  if (((field[0] ?? 0) & 0x80) !== 0) {
    // 0xff: a negative number, which only times before 1970 are.
    if (field[0] === 0xff) return 0;
    let value = BigInt((field[0] ?? 0) & 0x7f);
    for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformedTar(`a number of a header is ${String(value)}`);
    return Number(value);
  }
  const digits = text(block, [start, length]).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw malformedTar(`a number of a header is ${shown(digits)}`);
  return parseInt(digits, 8);
}
