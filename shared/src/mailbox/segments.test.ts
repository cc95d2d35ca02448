import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Corrupt } from '../errors.js';
import { FUZZ_TIMEOUT_MS, holds } from '../testing/property.js';
import { FRAME_LAYOUT as F, FRAME_SIZE, MAX_PAYLOAD_BYTES, SEGMENT_CAPACITY } from './frame-layout.js';
import { deliveryBytes, generationBytes, readFrameHeader, type AckRoute } from './frame.js';
import { armSegments, consumeSegments, isTouched, readSegments, segmentsFor, type SegmentPages } from './segments.js';

const marker = { name: 'task', token: 'tk', nonce: 7n };
const ack: AckRoute = { transport: 'udp', port: 4000, address: '10.0.2.2', nonce: 9n };

const armed = (count: number): Buffer[] => {
  const pages = Array.from({ length: count }, () => Buffer.alloc(FRAME_SIZE, 0xee));
  armSegments(pages, marker);
  return pages;
};

/** Writes as the host does: the payload over the segments in order, each as full as `capacity` lets it be. */
function deliver(pages: SegmentPages, payload: Buffer, generation = 1, capacity: number = SEGMENT_CAPACITY): void {
  pages.forEach((page, index) => {
    const part = payload.subarray(index * capacity, (index + 1) * capacity);
    const body = deliveryBytes(readFrameHeader(page), {
      generation,
      contentType: 'bytes',
      payload: part,
      totalLength: payload.length,
      ack,
    });
    body.bytes.copy(page, body.offset);
    const last = generationBytes(generation);
    last.bytes.copy(page, last.offset);
  });
}

const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, i) => (i * 31) % 251));

describe('a mailbox of several segments', () => {
  it.each([
    [1, 1],
    [3840, 1],
    [3841, 2],
    [200 * 1024, 54],
    [245_760, 64],
  ])('of %i bytes needs %i', (capacity, segments) => {
    expect(segmentsFor('capacity', capacity)).toBe(segments);
  });

  it.each([0, -1, 1.5, NaN, 245_761])('cannot have a capacity of %d bytes', (capacity) => {
    expect(() => segmentsFor('capacity', capacity)).toThrow(expect.objectContaining({ kind: 'InvalidInput' }));
  });

  it('is armed under one marker, each segment with its place', () => {
    const headers = armed(3).map((page) => readFrameHeader(page));
    expect(headers.map(({ segmentIndex }) => segmentIndex)).toEqual([0, 1, 2]);
    for (const header of headers)
      expect(header).toMatchObject({ ...marker, segmentCount: 3, state: 'armed', generation: 0 });
  });

  it.each([0, 1, 3840, 3841, 7680, 200 * 1024, MAX_PAYLOAD_BYTES])('gives %i bytes back as they were', (length) => {
    const pages = armed(64);
    expect(isTouched(pages)).toBe(false);
    deliver(pages, bytes(length), 3);
    expect(isTouched(pages)).toBe(true);
    const { payload, ...delivery } = readSegments(pages, marker);
    expect(delivery).toEqual({ generation: 3, contentType: 'bytes', ack });
    expect(payload.equals(bytes(length))).toBe(true);
  });

  it('gives any payload back over any number of segments that hold it', () => {
    const cases = fc
      .integer({ min: 1, max: 5 })
      .chain((count) => fc.tuple(fc.constant(count), fc.integer({ min: 0, max: count * SEGMENT_CAPACITY })));
    fc.assert(
      fc.property(cases, ([count, length]) => {
        const pages = armed(count);
        deliver(pages, bytes(length));
        return readSegments(pages, marker).payload.equals(bytes(length));
      }),
      { numRuns: 500 },
    );
  });

  it('gives with one byte changed anywhere what was delivered, or nothing', { timeout: FUZZ_TIMEOUT_MS }, () => {
    const pages = armed(3);
    const payload = bytes(25);
    deliver(pages, payload, 1, 10);
    const whole = { generation: 1, contentType: 'bytes', payload, ack };
    const changes = fc.record({
      segment: fc.nat(2),
      // The unused part of the payload is most of a frame, and of no interest.
      offset: fc.nat(F.payload.offset + 40),
      xor: fc.integer({ min: 1, max: 255 }),
    });
    holds(
      fc.property(changes, ({ segment, offset, xor }) => {
        const page = pages[segment]!;
        const before = page[offset]!;
        page[offset] = before ^ xor;
        try {
          return isDeepStrictEqual(readSegments(pages, marker), whole);
        } catch (error) {
          return error instanceof Corrupt;
        } finally {
          page[offset] = before;
        }
      }),
    );
  });

  it('gives a copy, and leaves nothing of the payload in the frames when it is consumed', () => {
    const pages = armed(2);
    deliver(pages, bytes(5000));
    const { payload } = readSegments(pages, marker);
    consumeSegments(pages);
    expect(payload.equals(bytes(5000))).toBe(true);
    for (const page of pages) {
      expect(page.subarray(F.payload.offset).every((byte) => byte === 0)).toBe(true);
      expect(readFrameHeader(page)).toMatchObject({ ...marker, state: 'consumed', generation: 1 });
    }
  });

  it.each<[string, string, (pages: Buffer[]) => void]>([
    [
      'nothing was delivered into one of them',
      'generation',
      (pages) => pages[1]!.writeUInt32LE(0, F.generation.offset),
    ],
    ['the host has not come to one of them', 'generation', (pages) => pages.splice(1, 1, armed(2)[1]!)],
    ['one is of another generation', 'generation', (pages) => pages[1]!.writeUInt32LE(2, F.generation.offset)],
    ['one gives another total', 'length', (pages) => pages[1]!.writeUInt32LE(4999, F.totalLength.offset)],
    [
      'all give a total that they do not have',
      'length',
      (pages) => {
        for (const page of pages) page.writeUInt32LE(4999, F.totalLength.offset);
      },
    ],
    ['one has another content type', 'content-type', (pages) => pages[1]!.writeUInt8(1, F.contentType.offset)],
    ['one has another nonce to acknowledge', 'ack', (pages) => pages[1]!.writeBigUInt64LE(8n, F.ackNonce.offset)],
    ['one names another port', 'ack', (pages) => pages[1]!.writeUInt16LE(1, F.ackPort.offset)],
    ['one names another address', 'ack', (pages) => pages[1]!.writeUInt32LE(1, F.ackAddress.offset)],
    ['one names another transport', 'ack', (pages) => pages[1]!.writeUInt8(3, F.ackTransport.offset)],
    ['one has a torn payload', 'checksum', (pages) => pages[1]!.writeUInt8(0xff, F.payload.offset)],
    ['one is armed still', 'state', (pages) => pages[1]!.writeUInt32LE(1, F.state.offset)],
    ['one is consumed already', 'state', (pages) => pages[1]!.writeUInt32LE(3, F.state.offset)],
    ['one bears another name', 'name', (pages) => pages[1]!.write('tasc', F.name.offset)],
    ['one bears another token', 'token', (pages) => pages[1]!.write('tx', F.token.offset)],
    ['one was armed another time', 'nonce', (pages) => pages[1]!.writeBigUInt64LE(8n, F.nonce.offset)],
    ['one is of a larger mailbox', 'segments', (pages) => pages[1]!.writeUInt16LE(3, F.segmentCount.offset)],
    ['two are exchanged', 'segments', (pages) => pages.reverse()],
    ['one is missing', 'segments', (pages) => pages.pop()],
    ['all are missing', 'segments', (pages) => pages.splice(0)],
    ['one is no frame any more', 'magic', (pages) => pages[1]!.fill(0)],
    ['there are more than 64', 'segments', (pages) => pages.push(...Array<Buffer>(63).fill(pages[1]!))],
  ])('is refused as a whole when %s', (_, problem, damage) => {
    const pages = armed(2);
    deliver(pages, bytes(5000));
    damage(pages);
    expect(() => readSegments(pages, marker)).toThrow(
      expect.objectContaining({ kind: 'Corrupt', reason: 'MAILBOX_FRAME_CORRUPT', metadata: { problem } }),
    );
  });
});
