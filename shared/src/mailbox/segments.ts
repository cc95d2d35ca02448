import { Corrupt, InvalidInput } from '../errors.js';
import { MAX_PAYLOAD_BYTES, SEGMENT_CAPACITY, type ContentType } from './frame-layout.js';
import {
  armFrame,
  readDelivery,
  readFrameHeader,
  readGeneration,
  wipePayload,
  writeFrameState,
  type AckRoute,
  type FrameMarker,
  type FrameProblem,
  type SegmentDelivery,
} from './frame.js';

/** The guest's side of a mailbox of one or more frames. `pages` are its segments in order, 4096 bytes each, anywhere in memory. */
export type SegmentPages = readonly Buffer[];

/** What all segments of a mailbox have in common since it was armed. */
export type MailboxMarker = Pick<FrameMarker, 'name' | 'token' | 'nonce'>;

/** A whole delivery, put together from its segments. */
export interface Delivery {
  readonly generation: number;
  readonly contentType: ContentType;
  /** A copy: what becomes of the frames does not change it. */
  readonly payload: Buffer;
  readonly ack: AckRoute;
}

/**
 * Segments a mailbox needs to hold so many bytes.
 * @throws InvalidInput unless it is a whole number from 1 to 245760
 */
export function segmentsFor(field: string, capacityBytes: number): number {
  if (!Number.isInteger(capacityBytes) || capacityBytes < 1 || capacityBytes > MAX_PAYLOAD_BYTES)
    throw InvalidInput.field(field, `must be a whole number from 1 to ${String(MAX_PAYLOAD_BYTES)}`);
  return Math.ceil(capacityBytes / SEGMENT_CAPACITY);
}

/** Arms every segment under one marker; what stood in the pages before is gone. @throws InvalidInput for a malformed marker */
export function armSegments(pages: SegmentPages, marker: MailboxMarker): void {
  pages.forEach((page, segmentIndex) => {
    armFrame(page, { ...marker, segmentIndex, segmentCount: pages.length });
  });
}

/** Whether the host wrote a generation into any of the segments; {@link readSegments} tells whether it wrote all of them. */
export const isTouched = (pages: SegmentPages): boolean => pages.some((page) => readGeneration(page) !== 0);

/**
 * What the host delivered into the segments that were armed under `marker`. The payload is that of the segments one after
 * the other, however many bytes each of them has.
 * @throws Corrupt with `metadata.problem` when a segment is not the one that was armed, is torn, or is not of the same
 * delivery as the first: then nothing of it counts
 */
export function readSegments(pages: SegmentPages, marker: MailboxMarker): Delivery {
  const parts = pages.map((page, index) => readSegment(page, index, pages.length, marker));
  try {
    return joined(parts);
  } finally {
    for (const part of parts) part.payload.fill(0);
  }
}

/** Marks a delivery as taken out, and leaves nothing of its payload in the frames. */
export function consumeSegments(pages: SegmentPages): void {
  for (const page of pages) {
    writeFrameState(page, 'consumed');
    wipePayload(page);
  }
}

function readSegment(page: Buffer, index: number, count: number, marker: MailboxMarker): SegmentDelivery {
  const where = `segment ${String(index)}`;
  const header = readFrameHeader(page);
  if (header.name !== marker.name) throw corrupt('name', `${where} bears another name`);
  if (header.token !== marker.token) throw corrupt('token', `${where} bears another token`);
  if (header.nonce !== marker.nonce) throw corrupt('nonce', `${where} bears the nonce of another arming`);
  if (header.segmentIndex !== index || header.segmentCount !== count)
    throw corrupt(
      'segments',
      `${where} of ${String(count)} says that it is ${String(header.segmentIndex)} of ${String(header.segmentCount)}`,
    );
  // The generation first: a segment that the host has not come to is armed still, and that is what is wrong with it.
  if (header.generation === 0) throw corrupt('generation', `nothing was delivered into ${where}`);
  if (header.state !== 'delivered') throw corrupt('state', `${where} is ${header.state}`);
  return readDelivery(page);
}

function joined(parts: readonly SegmentDelivery[]): Delivery {
  const [first] = parts;
  if (first === undefined) throw corrupt('segments', 'a mailbox without segments');
  parts.forEach((part, index) => {
    const problem = differenceOf(part, first);
    if (problem !== undefined) throw corrupt(problem, `segment ${String(index)} is of another delivery than segment 0`);
  });
  const length = parts.reduce((sum, { payload }) => sum + payload.length, 0);
  if (length !== first.totalLength)
    throw corrupt(
      'length',
      `the segments have ${String(length)} bytes together instead of ${String(first.totalLength)}`,
    );
  const { generation, contentType, ack } = first;
  return { generation, contentType, payload: Buffer.concat(parts.map(({ payload }) => payload)), ack };
}

/** What tells a segment from the first of its mailbox, as every segment repeats what belongs to the whole delivery. */
function differenceOf(part: SegmentDelivery, first: SegmentDelivery): FrameProblem | undefined {
  if (part.generation !== first.generation) return 'generation';
  if (part.totalLength !== first.totalLength) return 'length';
  if (part.contentType !== first.contentType) return 'content-type';
  for (const field of ['transport', 'port', 'address', 'nonce'] as const)
    if (part.ack[field] !== first.ack[field]) return 'ack';
  return undefined;
}

const corrupt = (problem: FrameProblem, description: string): Corrupt =>
  new Corrupt(`mailbox: ${description}`, { reason: 'MAILBOX_FRAME_CORRUPT', metadata: { problem } });
