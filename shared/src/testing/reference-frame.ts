import { FRAME_SIZE, type AckTransport, type ContentType, type FrameState } from '../mailbox/frame-layout.js';
import type { FrameMarker, FrameProblem, SegmentDelivery } from '../mailbox/frame.js';

/**
 * The mailbox frame once more, from the table of the specification and without the code under test: offsets, sizes and
 * numbers are written down again on purpose, and everything is done the slow and obvious way.
 */
export const STATES: readonly (FrameState | undefined)[] = [undefined, 'armed', 'delivered', 'consumed', 'disposed'];
const CONTENT_TYPES: readonly (ContentType | undefined)[] = [undefined, 'json', 'bytes'];
const TRANSPORTS: readonly AckTransport[] = ['none', 'udp', 'vsock', 'channel'];
export const NAME_BYTES = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-';
export const SEGMENT_BYTES = 3840;

/** An armed frame, by the specification's table alone. */
export function pageOf({ name, token, segmentIndex, segmentCount, nonce }: FrameMarker): Buffer {
  const page = Buffer.alloc(FRAME_SIZE);
  page.write('OFFSHOOT-MBOX-1\0', 0, 'latin1');
  page.write(name, 16, 'latin1');
  page.write(token, 80, 'utf8');
  page.writeUInt16LE(segmentIndex, 208);
  page.writeUInt16LE(segmentCount, 210);
  page.writeUInt32LE(1, 212);
  page.writeBigUInt64LE(nonce, 216);
  return page;
}

/** The bytes of a field up to its padding; undefined when the padding is not all NULs. */
export function unpadded(field: Buffer): Buffer | undefined {
  const text = field.toString('latin1').replace(/\0*$/, '');
  return text.includes('\0') ? undefined : Buffer.from(text, 'latin1');
}

function isUtf8(bytes: Buffer): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Everything that is wrong with a frame as the guest left it, found without the code under test. */
export function faultsOf(page: Buffer): Set<FrameProblem> {
  const faults = new Set<FrameProblem>();
  if (page.toString('latin1', 0, 16) !== 'OFFSHOOT-MBOX-1\0') faults.add('magic');
  const name = unpadded(page.subarray(16, 80))?.toString('latin1') ?? '';
  if (name === '' || Array.from(name).some((character) => !NAME_BYTES.includes(character))) faults.add('name');
  const token = unpadded(page.subarray(80, 208));
  if (token === undefined || token.length === 0 || !isUtf8(token)) faults.add('token');
  const [index, count] = [page.readUInt16LE(208), page.readUInt16LE(210)];
  if (count === 0 || count > 64 || index >= count) faults.add('segments');
  const state = page.readUInt32LE(212);
  if (state === 0 || state > 4) faults.add('state');
  if (state === 1 && page.readUInt32LE(224) === 0xffffffff) faults.add('generation');
  return faults;
}

/** What a reader may take from a segment, by the specification's table; undefined when it may take nothing. */
export function deliveryIn(page: Buffer): SegmentDelivery | undefined {
  const generation = page.readUInt32LE(224);
  const length = page.readUInt32LE(228);
  const others = (page.readUInt16LE(210) - 1) * SEGMENT_BYTES;
  const totalLength = page.readUInt32LE(244);
  const contentType = CONTENT_TYPES[page.readUInt8(236)];
  const transport = TRANSPORTS[page.readUInt8(237)];
  if (generation === 0 || length > SEGMENT_BYTES || others < 0 || others > 63 * SEGMENT_BYTES) return undefined;
  if (totalLength < length || totalLength - length > others) return undefined;
  if (contentType === undefined || transport === undefined) return undefined;
  const payload = Buffer.from(page.subarray(256, 256 + length));
  if (slowCrc32(payload) !== page.readUInt32LE(232)) return undefined;
  const ack = {
    transport,
    port: page.readUInt16LE(238),
    address: `${String(page[240])}.${String(page[241])}.${String(page[242])}.${String(page[243])}`,
    nonce: page.readBigUInt64LE(248),
  };
  return { generation, contentType, payload, totalLength, ack };
}

/** The polynomial division itself, bit by bit. */
function slowCrc32(bytes: Buffer): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
