import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { crc32 } from '../crc32.js';
import { Corrupt } from '../errors.js';
import {
  formatAck,
  formatAckOk,
  formatNonce,
  parseAck,
  parseAckOk,
  type AckReject,
  type AckStage,
} from './ack-line.js';
import { FRAME_SIZE, type AckTransport, type ContentType, type FrameState } from './frame-layout.js';
import {
  armFrame,
  deliveryBytes,
  generationBytes,
  readDelivery,
  readFrameHeader,
  tokenFingerprint,
  tokenSha256,
  writeFrameState,
  type FrameProblem,
} from './frame.js';

interface Range {
  offset: number;
  hex: string;
}

interface Vectors {
  frameSize: number;
  frames: {
    title: string;
    ranges: Range[];
    header: {
      name: string;
      token: string;
      segmentIndex: number;
      segmentCount: number;
      nonce: string;
      state: FrameState;
      generation: number;
    };
    delivery?: {
      generation: number;
      contentType: ContentType;
      payload: string;
      totalLength: number;
      ack: { transport: AckTransport; port: number; address: string; nonce: string };
    };
  }[];
  rejectedFrames: { title: string; reader: 'header' | 'delivery'; problem: FrameProblem; ranges: Range[] }[];
  acks: {
    line: string;
    canonical: boolean;
    ack: { mailbox: string; generation: number; nonce: string; stage: AckStage; detail: string };
  }[];
  rejectedAcks: { line: string; reject: AckReject }[];
  ackOks: { line: string; nonce: string }[];
  rejectedAckOks: string[];
  tokens: { token: string; sha256: string }[];
  crc32: { hex: string; value: number }[];
}

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const vectors = JSON.parse(readFileSync(file('golden-vectors.json'), 'utf8')) as Vectors;
const bigint = (hex: string): bigint => BigInt(`0x${hex}`);

function pageOf(ranges: readonly Range[]): Buffer {
  const page = Buffer.alloc(FRAME_SIZE);
  for (const { offset, hex } of ranges) page.write(hex, offset, 'hex');
  return page;
}

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
