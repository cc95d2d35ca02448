import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { crc32 } from '../crc32.js';
import { Corrupt } from '../errors.js';
import { formatAck, formatAckOk, formatNonce, parseAck, parseAckOk } from './ack-line.js';
import { FRAME_SIZE, SEGMENT_CAPACITY } from './frame-layout.js';
import {
  armFrame,
  deliveryBytes,
  generationBytes,
  readDelivery,
  readFrameHeader,
  readGeneration,
  tokenFingerprint,
  tokenSha256,
  writeFrameState,
} from './frame.js';
import { bytesOfRanges, readGoldenVectors, type GoldenMailbox, type GoldenRange } from './golden-vectors.js';
import { armSegments, readSegments } from './segments.js';

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const vectors = readGoldenVectors();
const bigint = (hex: string): bigint => BigInt(`0x${hex}`);
const pageOf = (ranges: readonly GoldenRange[]): Buffer => bytesOfRanges(FRAME_SIZE, ranges);

function problemOf(read: () => unknown): string | undefined {
  try {
    read();
  } catch (error) {
    if (error instanceof Corrupt && error.reason === 'MAILBOX_FRAME_CORRUPT') return error.metadata.problem;
    throw error;
  }
  return undefined;
}

describe('golden vectors of the mailbox frame', () => {
  it('have the frame size of the layout', () => {
    expect(vectors.frameSize).toBe(FRAME_SIZE);
  });

  it.each(vectors.frames)('$title is written byte for byte', ({ ranges, header, delivery }) => {
    const page = Buffer.alloc(FRAME_SIZE, 0xee);
    const marker = { ...header, nonce: bigint(header.nonce) };
    armFrame(page, marker);
    if (delivery !== undefined) {
      const patch = {
        ...delivery,
        payload: Buffer.from(delivery.payload, 'hex'),
        ack: { ...delivery.ack, nonce: bigint(delivery.ack.nonce) },
      };
      const { offset, bytes } = deliveryBytes({ ...marker, generation: 0 }, patch);
      bytes.copy(page, offset);
      const generation = generationBytes(delivery.generation);
      generation.bytes.copy(page, generation.offset);
    }
    writeFrameState(page, header.state);
    expect(page.equals(pageOf(ranges))).toBe(true);
  });

  it.each(vectors.frames)('$title is read field by field', ({ ranges, header, delivery }) => {
    const page = pageOf(ranges);
    expect(readFrameHeader(page)).toEqual({ ...header, nonce: bigint(header.nonce) });
    if (delivery === undefined) {
      expect(problemOf(() => readDelivery(page))).toBe('generation');
      return;
    }
    expect(readDelivery(page)).toEqual({
      ...delivery,
      payload: Buffer.from(delivery.payload, 'hex'),
      ack: { ...delivery.ack, nonce: bigint(delivery.ack.nonce) },
    });
  });

  it.each(vectors.rejectedFrames)(
    '$title is refused by the $reader reader: $problem',
    ({ reader, problem, ranges }) => {
      const page = pageOf(ranges);
      expect(problemOf(() => (reader === 'header' ? readFrameHeader(page) : readDelivery(page)))).toBe(problem);
    },
  );

  it.each(vectors.tokens)('token $token has its SHA-256 and fingerprint', ({ token, sha256 }) => {
    expect(tokenSha256(token)).toBe(sha256);
    expect(tokenFingerprint(token)).toBe(sha256.slice(0, 16));
  });

  it.each(vectors.crc32)('CRC-32 of $hex is $value', ({ hex, value }) => {
    expect(crc32(Buffer.from(hex, 'hex'))).toBe(value);
  });
});

describe('golden vectors of whole mailboxes', () => {
  const pagesOf = ({ segments }: GoldenMailbox): Buffer[] => segments.map(pageOf);
  const markerOf = ({ armed: { name, token, nonce } }: GoldenMailbox) => ({ name, token, nonce: bigint(nonce) });

  it.each(vectors.mailboxes)('$title are written byte for byte', (mailbox) => {
    const { generation, contentType, payload, ack } = mailbox.delivery;
    const all = bytesOfRanges(payload.length, payload.ranges);
    const pages = mailbox.segments.map(() => Buffer.alloc(FRAME_SIZE, 0xee));
    armSegments(pages, markerOf(mailbox));
    pages.forEach((page, i) => {
      const { offset, bytes } = deliveryBytes(readFrameHeader(page), {
        generation,
        contentType,
        payload: all.subarray(i * SEGMENT_CAPACITY, (i + 1) * SEGMENT_CAPACITY),
        totalLength: all.length,
        ack: { ...ack, nonce: bigint(ack.nonce) },
      });
      bytes.copy(page, offset);
      const last = generationBytes(generation);
      last.bytes.copy(page, last.offset);
    });
    expect(pages.findIndex((page, i) => !page.equals(pageOf(mailbox.segments[i]!)))).toBe(-1);
  });

  it.each(vectors.mailboxes)('$title are one delivery', (mailbox) => {
    const { payload, ack, ...rest } = mailbox.delivery;
    const read = readSegments(pagesOf(mailbox), markerOf(mailbox));
    expect(read.payload.equals(bytesOfRanges(payload.length, payload.ranges))).toBe(true);
    expect(read).toMatchObject({ ...rest, ack: { ...ack, nonce: bigint(ack.nonce) } });
  });

  it.each(vectors.incompleteMailboxes)('$title are not all delivered', (mailbox) => {
    const pages = pagesOf(mailbox);
    expect(pages.some((page) => readGeneration(page) === 0)).toBe(true);
    expect(problemOf(() => readSegments(pages, markerOf(mailbox)))).toBe('generation');
  });

  it.each(vectors.rejectedMailboxes)('$title are refused: $problem', (mailbox) => {
    const pages = pagesOf(mailbox);
    expect(pages.some((page) => readGeneration(page) === 0)).toBe(false);
    expect(problemOf(() => readSegments(pages, markerOf(mailbox)))).toBe(mailbox.problem);
  });
});

describe('golden vectors of the ack line', () => {
  it.each(vectors.acks)('$line is read', ({ line, ack }) => {
    expect(parseAck(Buffer.from(line, 'latin1'))).toEqual({ ok: true, ack: { ...ack, nonce: bigint(ack.nonce) } });
  });

  it.each(vectors.acks.filter(({ canonical }) => canonical))('$line is written', ({ line, ack }) => {
    expect(formatAck({ ...ack, nonce: bigint(ack.nonce) })).toBe(line);
  });

  it.each(vectors.rejectedAcks)('$line is refused: $reject', ({ line, reject }) => {
    expect(parseAck(Buffer.from(line, 'latin1'))).toEqual({ ok: false, reject });
  });

  it.each(vectors.ackOks)('$line is read and written', ({ line, nonce }) => {
    expect(parseAckOk(Buffer.from(line, 'latin1'))).toBe(bigint(nonce));
    expect(formatAckOk(bigint(nonce))).toBe(line);
    expect(formatNonce(bigint(nonce))).toBe(nonce);
  });

  it.each(vectors.rejectedAckOks.map((line) => ({ line })))('$line is no answer', ({ line }) => {
    expect(parseAckOk(Buffer.from(line, 'latin1'))).toBeUndefined();
  });
});

const python = spawnSync('python3', [file('golden-vectors.py')], { encoding: 'utf8' });
const absent = python.error === undefined ? '' : ' (skipped: python3)';

it.skipIf(python.error !== undefined)(`the vectors are what the independent derivation prints${absent}`, () => {
  expect(python.status, python.stderr).toBe(0);
  expect(JSON.parse(python.stdout)).toEqual(vectors);
});
