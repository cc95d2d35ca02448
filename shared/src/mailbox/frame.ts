import { createHash } from 'node:crypto';
import { crc32 } from '../crc32.js';
import { checkMailboxName } from './ack-line.js';
import { Corrupt, InvalidInput } from '../errors.js';
import {
  ACK_TRANSPORT,
  CONTENT_TYPE,
  FRAME_LAYOUT as F,
  FRAME_MAGIC,
  FRAME_SIZE,
  FRAME_STATE,
  MAILBOX_NAME_PATTERN,
  MAX_SEGMENTS,
  MAX_TOKEN_BYTES,
  SEGMENT_CAPACITY,
  type AckTransport,
  type ContentType,
  type FrameState,
} from './frame-layout.js';

/** What the guest writes when it arms a mailbox. */
export interface FrameMarker {
  readonly name: string;
  /** 1 to 128 bytes of UTF-8 without NUL. */
  readonly token: string;
  readonly segmentIndex: number;
  readonly segmentCount: number;
  /** New and random each time the frame is armed: tells a live frame from a stale copy of it. */
  readonly nonce: bigint;
}

/** A marker together with where its frame is in its life. */
export interface FrameHeader extends FrameMarker {
  readonly state: FrameState;
  /** 0 = never delivered. */
  readonly generation: number;
}

/** Where and how the guest acknowledges a delivery. */
export interface AckRoute {
  readonly transport: AckTransport;
  /** UDP or vsock port of the host; 0 for other transports. */
  readonly port: number;
  /** IPv4 address of the host; `0.0.0.0` = the guest's default gateway. */
  readonly address: string;
  /** Random per delivery; the guest repeats it in its ack. */
  readonly nonce: bigint;
}

/** What the host writes into one segment. */
export interface SegmentDelivery {
  readonly generation: number;
  readonly contentType: ContentType;
  readonly payload: Buffer;
  /** Payload bytes over all segments. */
  readonly totalLength: number;
  readonly ack: AckRoute;
}

/** The generation is a 32-bit field that only grows. */
const MAX_GENERATION = 0xffffffff;

const keyOf = <T extends Record<string, number>>(table: T, value: number): keyof T | undefined =>
  (Object.keys(table) as (keyof T)[]).find((key) => table[key] === value);

/** SHA-256 of the token, 64 hex digits: what a token is compared by where it must not be kept. */
export function tokenSha256(token: string): string {
  return createHash('sha256').update(token, 'utf8').digest('hex');
}

/** First 16 hex digits of the token's SHA-256: safe to show where the token is not. */
export function tokenFingerprint(token: string): string {
  return tokenSha256(token).slice(0, 16);
}

function checkMarker(marker: FrameMarker): void {
  const { name, token, segmentIndex, segmentCount } = marker;
  checkMailboxName('name', name);
  const tokenBytes = Buffer.byteLength(token, 'utf8');
  if (tokenBytes < 1 || tokenBytes > MAX_TOKEN_BYTES || token.includes('\0'))
    throw InvalidInput.field(
      'token',
      `must be 1 to ${String(MAX_TOKEN_BYTES)} bytes of UTF-8 without NUL, got ${String(tokenBytes)} bytes`,
      'MAILBOX_TOKEN_MALFORMED',
    );
  if (!Number.isInteger(segmentCount) || segmentCount < 1 || segmentCount > MAX_SEGMENTS)
    throw InvalidInput.field('segment_count', `must be 1 to ${String(MAX_SEGMENTS)}, got ${String(segmentCount)}`);
  if (!Number.isInteger(segmentIndex) || segmentIndex < 0 || segmentIndex >= segmentCount)
    throw InvalidInput.field('segment_index', `must be 0 to ${String(segmentCount - 1)}, got ${String(segmentIndex)}`);
}

/**
 * Arms a frame: wipes it, then writes the marker, the state last. `page` is 4096 bytes of the guest's memory.
 * @throws InvalidInput when the marker does not fit the frame
 */
export function armFrame(page: Buffer, marker: FrameMarker): void {
  checkMarker(marker);
  page.fill(0);
  page.write(marker.name, F.name.offset, F.name.size, 'latin1');
  page.write(marker.token, F.token.offset, F.token.size, 'utf8');
  page.writeUInt16LE(marker.segmentIndex, F.segmentIndex.offset);
  page.writeUInt16LE(marker.segmentCount, F.segmentCount.offset);
  page.writeBigUInt64LE(marker.nonce, F.nonce.offset);
  FRAME_MAGIC.copy(page, F.magic.offset);
  writeFrameState(page, 'armed');
}

export function writeFrameState(page: Buffer, state: FrameState): void {
  page.writeUInt32LE(FRAME_STATE[state], F.state.offset);
}

/** Leaves zeros where the payload stood. The host's other fields stay: generation and ack are not secret. */
export function wipePayload(page: Buffer): void {
  page.fill(0, F.payload.offset, F.payload.offset + F.payload.size);
}

/** Generation as it stands in the frame: the cheapest look at whether something was delivered. */
export function readGeneration(page: Buffer): number {
  return page.readUInt32LE(F.generation.offset);
}

/** Whether `page` begins with the magic; everything after it may still be nonsense. */
export function hasFrameMagic(page: Buffer): boolean {
  return page.subarray(F.magic.offset, F.magic.size).equals(FRAME_MAGIC);
}

/** What is wrong with a frame: a field, or what holds the fields together. Labels of the finder's reject counters. */
export type FrameProblem =
  | 'size'
  | 'magic'
  | 'name'
  | 'token'
  | 'segments'
  | 'nonce'
  | 'state'
  | 'generation'
  | 'length'
  | 'checksum'
  | 'content-type'
  | 'ack';

export type FrameParse =
  | { readonly ok: true; readonly header: FrameHeader }
  | { readonly ok: false; readonly problem: FrameProblem; readonly description: string };

const corrupt = (problem: FrameProblem, description: string): Corrupt =>
  new Corrupt(`mailbox frame: ${description}`, { reason: 'MAILBOX_FRAME_CORRUPT', metadata: { problem } });

const bad = (problem: FrameProblem, description: string): FrameParse => ({ ok: false, problem, description });

const shortPage = (page: Buffer): string | undefined =>
  page.length < FRAME_SIZE ? `${String(page.length)} bytes instead of ${String(FRAME_SIZE)}` : undefined;

/** The NUL-padded field's bytes up to the padding; undefined when anything but NULs follows the first NUL. */
function paddedBytes(page: Buffer, field: { offset: number; size: number }): Buffer | undefined {
  const raw = page.subarray(field.offset, field.offset + field.size);
  const end = raw.indexOf(0);
  if (end < 0) return raw;
  return raw.subarray(end).every((byte) => byte === 0) ? raw.subarray(0, end) : undefined;
}

/**
 * Marker, state and generation of a frame the guest wrote. The guest is hostile: every field is checked, and nothing is
 * thrown, because a memory full of nonsense must not cost a stack trace a page.
 */
export function parseFrameHeader(page: Buffer): FrameParse {
  const short = shortPage(page);
  if (short !== undefined) return bad('size', short);
  if (!hasFrameMagic(page)) return bad('magic', 'magic missing');
  const name = paddedBytes(page, F.name)?.toString('latin1');
  if (name === undefined) return bad('name', 'name is not padded with NULs');
  if (!MAILBOX_NAME_PATTERN.test(name)) return bad('name', 'name is malformed');
  const tokenBytes = paddedBytes(page, F.token);
  if (tokenBytes === undefined) return bad('token', 'token is not padded with NULs');
  if (tokenBytes.length === 0) return bad('token', 'token is empty');
  const token = tokenBytes.toString('utf8');
  if (!Buffer.from(token, 'utf8').equals(tokenBytes)) return bad('token', 'token is not UTF-8');
  const segmentIndex = page.readUInt16LE(F.segmentIndex.offset);
  const segmentCount = page.readUInt16LE(F.segmentCount.offset);
  if (segmentCount > MAX_SEGMENTS || segmentIndex >= segmentCount)
    return bad('segments', `segment ${String(segmentIndex)} of ${String(segmentCount)}`);
  const stateValue = page.readUInt32LE(F.state.offset);
  const state = keyOf(FRAME_STATE, stateValue);
  if (state === undefined) return bad('state', `state is ${String(stateValue)}`);
  const generation = readGeneration(page);
  if (state === 'armed' && generation === MAX_GENERATION) return bad('generation', 'generation cannot grow any more');
  const nonce = page.readBigUInt64LE(F.nonce.offset);
  return { ok: true, header: { name, token, segmentIndex, segmentCount, nonce, state, generation } };
}

/** As {@link parseFrameHeader}. @throws Corrupt naming what is wrong, `metadata.problem` being a {@link FrameProblem} */
export function readFrameHeader(page: Buffer): FrameHeader {
  const parse = parseFrameHeader(page);
  if (parse.ok) return parse.header;
  throw corrupt(parse.problem, parse.description);
}

/**
 * The host's fields of a delivery as one piece of memory, from the state to the end of the payload, generation left as
 * it was: `bytes` go to `offset` in the frame first, then {@link generationBytes}, so that a reader that sees the new
 * generation sees everything.
 * @throws InvalidInput when the payload is larger than a segment
 */
export function deliveryBytes(header: FrameHeader, delivery: SegmentDelivery): { offset: number; bytes: Buffer } {
  if (delivery.payload.length > SEGMENT_CAPACITY)
    throw InvalidInput.field(
      'payload',
      `must be at most ${String(SEGMENT_CAPACITY)} bytes in one segment, got ${String(delivery.payload.length)}`,
      'MAILBOX_PAYLOAD_TOO_LARGE',
    );
  const start = F.state.offset;
  const bytes = Buffer.alloc(F.payload.offset + delivery.payload.length - start);
  const at = (field: { offset: number }): number => field.offset - start;
  bytes.writeUInt32LE(FRAME_STATE.delivered, at(F.state));
  bytes.writeBigUInt64LE(header.nonce, at(F.nonce));
  bytes.writeUInt32LE(header.generation, at(F.generation));
  bytes.writeUInt32LE(delivery.payload.length, at(F.payloadLength));
  bytes.writeUInt32LE(crc32(delivery.payload), at(F.payloadCrc32));
  bytes.writeUInt8(CONTENT_TYPE[delivery.contentType], at(F.contentType));
  bytes.writeUInt8(ACK_TRANSPORT[delivery.ack.transport], at(F.ackTransport));
  bytes.writeUInt16LE(delivery.ack.port, at(F.ackPort));
  delivery.ack.address.split('.').forEach((part, i) => bytes.writeUInt8(Number(part), at(F.ackAddress) + i));
  bytes.writeUInt32LE(delivery.totalLength, at(F.totalLength));
  bytes.writeBigUInt64LE(delivery.ack.nonce, at(F.ackNonce));
  delivery.payload.copy(bytes, at(F.payload));
  return { offset: start, bytes };
}

export function generationBytes(generation: number): { offset: number; bytes: Buffer } {
  const bytes = Buffer.alloc(F.generation.size);
  bytes.writeUInt32LE(generation);
  return { offset: F.generation.offset, bytes };
}

/**
 * Reads what the host delivered into a segment; used by the guest, and by the host to compare what it wrote.
 * @throws Corrupt when lengths or checksum do not fit, so that a torn delivery is never taken for a whole one
 */
export function readDelivery(page: Buffer): SegmentDelivery {
  const short = shortPage(page);
  if (short !== undefined) throw corrupt('size', short);
  const generation = readGeneration(page);
  if (generation === 0) throw corrupt('generation', 'nothing was delivered yet');
  const length = page.readUInt32LE(F.payloadLength.offset);
  if (length > SEGMENT_CAPACITY) throw corrupt('length', `payload of ${String(length)} bytes`);
  const segmentCount = page.readUInt16LE(F.segmentCount.offset);
  if (segmentCount < 1 || segmentCount > MAX_SEGMENTS)
    throw corrupt('segments', `segment count is ${String(segmentCount)}`);
  const totalLength = page.readUInt32LE(F.totalLength.offset);
  // What the other segments hold is between nothing and all they can.
  if (totalLength < length || totalLength > length + SEGMENT_CAPACITY * (segmentCount - 1))
    throw corrupt('length', `total length is ${String(totalLength)}, of which ${String(length)} bytes are here`);
  const payload = Buffer.from(page.subarray(F.payload.offset, F.payload.offset + length));
  if (crc32(payload) !== page.readUInt32LE(F.payloadCrc32.offset))
    throw corrupt('checksum', 'payload checksum differs');
  const contentType = keyOf(CONTENT_TYPE, page.readUInt8(F.contentType.offset));
  if (contentType === undefined) throw corrupt('content-type', 'content type is unknown');
  const transport = keyOf(ACK_TRANSPORT, page.readUInt8(F.ackTransport.offset));
  if (transport === undefined) throw corrupt('ack', 'ack transport is unknown');
  return {
    generation,
    contentType,
    payload,
    totalLength,
    ack: {
      transport,
      port: page.readUInt16LE(F.ackPort.offset),
      address: [...page.subarray(F.ackAddress.offset, F.ackAddress.offset + F.ackAddress.size)].join('.'),
      nonce: page.readBigUInt64LE(F.ackNonce.offset),
    },
  };
}
