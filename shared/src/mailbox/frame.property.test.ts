import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Corrupt } from '../errors.js';
import { FUZZ_TIMEOUT_MS, holds } from '../testing/property.js';
import { noises, type Noise } from '../testing/noise.js';
import { NAME_BYTES, STATES, deliveryIn, faultsOf, pageOf, unpadded } from '../testing/reference-frame.js';
import { scribbledPage, someDelivery, someMarker } from '../testing/some-frame.js';
import {
  armFrame,
  deliveryBytes,
  generationBytes,
  parseFrameHeader,
  readDelivery,
  readFrameHeader,
  type FrameProblem,
  type SegmentDelivery,
} from './frame.js';

/** What a field can have that it must not. Each leaves all other fields as they were. */
const FAULTS: Readonly<Record<string, { problem: FrameProblem; spoil: (page: Buffer, noise: Noise) => unknown }>> = {
  'another byte in the magic': {
    problem: 'magic',
    spoil: (page, noise) => (page[noise.below(16)]! ^= 1 + noise.below(255)),
  },
  'no name': { problem: 'name', spoil: (page) => page.fill(0, 16, 80) },
  'a byte that no name has': {
    problem: 'name',
    spoil: (page, noise) =>
      page.writeUInt8(noNameByte(noise), 16 + noise.below(unpadded(page.subarray(16, 80))!.length)),
  },
  'something behind the padding of the name': {
    problem: 'name',
    spoil: (page, noise) => page.fill(0, 18, 80).writeUInt8(1 + noise.below(255), 19 + noise.below(61)),
  },
  'no token': { problem: 'token', spoil: (page) => page.fill(0, 80, 208) },
  'a token that is not UTF-8': {
    problem: 'token',
    spoil: (page, noise) => noise.pick(NOT_UTF8).copy(page.fill(0, 80, 208), 80),
  },
  'something behind the padding of the token': {
    problem: 'token',
    spoil: (page, noise) =>
      page
        .fill('t', 80, 83)
        .fill(0, 83, 208)
        .writeUInt8(1 + noise.below(255), 84 + noise.below(124)),
  },
  'no segments': { problem: 'segments', spoil: (page) => page.writeUInt16LE(0, 210) },
  'more than 64 segments': {
    problem: 'segments',
    spoil: (page, noise) => page.writeUInt16LE(noise.pick([65, 65 + noise.below(65471), 65535]), 210),
  },
  'a segment beyond the last': {
    problem: 'segments',
    spoil: (page, noise) => {
      const count = page.readUInt16LE(210);
      page.writeUInt16LE(noise.pick([count, count + noise.below(65536 - count), 65535]), 208);
    },
  },
  'a state that is none': {
    problem: 'state',
    spoil: (page, noise) => page.writeUInt32LE(noise.pick([0, 5, 5 + noise.below(2 ** 32 - 5), 2 ** 32 - 1]), 212),
  },
  'a generation that cannot grow': { problem: 'generation', spoil: (page) => page.writeUInt32LE(2 ** 32 - 1, 224) },
};

/** Cut short, overlong, surrogate, beyond the last code point, of five bytes. */
const NOT_UTF8 = (
  ['80', 'c080', 'c3', 'c328', 'e28082ff', 'e282', 'eda080', 'f4908080', 'f09f94', 'f8a0a0a0a0', '74ff'] as const
).map((hex) => Buffer.from(hex, 'hex')) as [Buffer, ...Buffer[]];

function noNameByte(noise: Noise): number {
  for (;;) {
    const byte = 1 + noise.below(255);
    if (!NAME_BYTES.includes(String.fromCharCode(byte))) return byte;
  }
}

function problemOf(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    // Anything else would take the reader down, who is the guest's process or the host.
    if (error instanceof Corrupt && error.reason === 'MAILBOX_FRAME_CORRUPT') return error.metadata.problem;
    throw error;
  }
}

describe('any frame', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('is armed byte for byte as the table says, over whatever stood there, and read back as it was armed', () => {
    const page = Buffer.alloc(4096);
    holds(
      fc.property(noises, (noise) => {
        const marker = someMarker(noise);
        page.fill(noise.below(256));
        armFrame(page, marker);
        ok(page.equals(pageOf(marker)));
        deepStrictEqual(parseFrameHeader(page), { ok: true, header: { ...marker, state: 'armed', generation: 0 } });
      }),
    );
  });

  it('with a single field out of range is refused for that field', () => {
    holds(
      fc.property(noises, fc.constantFrom(...Object.keys(FAULTS)), (noise, fault) => {
        const { problem, spoil } = FAULTS[fault]!;
        const page = pageOf(someMarker(noise));
        spoil(page, noise);
        const parse = parseFrameHeader(page);
        return !parse.ok && parse.problem === problem;
      }),
    );
  });

  it('that is no whole page is refused for its size', () => {
    const page = pageOf({ name: 'task', token: 'tk', segmentIndex: 0, segmentCount: 1, nonce: 1n });
    holds(
      fc.property(fc.nat({ max: 4095 }), (length) => {
        const parse = parseFrameHeader(page.subarray(0, length));
        return (
          !parse.ok && parse.problem === 'size' && problemOf(() => readDelivery(page.subarray(0, length))) === 'size'
        );
      }),
    );
  });

  it('of random bytes behind the magic is refused for what is wrong with it, or is one that could have been armed', () => {
    const copy = Buffer.alloc(4096);
    const seen = { good: 0, bad: 0 };
    holds(
      fc.property(noises, (noise) => {
        const page = scribbledPage(noise);
        const faults = faultsOf(page);
        const parse = parseFrameHeader(page);
        strictEqual(parse.ok, faults.size === 0);
        seen[parse.ok ? 'good' : 'bad']++;
        if (!parse.ok) {
          ok(faults.has(parse.problem));
          return;
        }
        armFrame(copy, parse.header);
        strictEqual(copy.compare(page, 0, 212, 0, 212), 0);
        strictEqual(copy.compare(page, 216, 224, 216, 224), 0);
        strictEqual(parse.header.state, STATES[page.readUInt32LE(212)]);
        strictEqual(parse.header.generation, page.readUInt32LE(224));
      }),
    );
    // Both kinds came, or nothing was compared.
    expect(Math.min(seen.good, seen.bad)).toBeGreaterThan((seen.good + seen.bad) / 10);
  });
});

function deliver(page: Buffer, delivery: SegmentDelivery): void {
  const body = deliveryBytes(readFrameHeader(page), delivery);
  body.bytes.copy(page, body.offset);
  const generation = generationBytes(delivery.generation);
  generation.bytes.copy(page, generation.offset);
}

/** Whether an offset lies in a field. */
const within = (at: number, from: number, to: number): boolean => at >= from && at < to;

describe('any delivery', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('stands in the frame where the table says, beside a marker that is as it was, and is read back as it was written', () => {
    holds(
      fc.property(noises, (noise) => {
        const marker = someMarker(noise);
        const page = pageOf(marker);
        const delivery = someDelivery(noise, marker.segmentCount);
        deliver(page, delivery);
        deepStrictEqual(deliveryIn(page), delivery);
        deepStrictEqual(readDelivery(page), delivery);
        strictEqual(page.readUInt32LE(212), 2);
        page.writeUInt32LE(1, 212);
        page.fill(0, 224);
        ok(page.equals(pageOf(marker)));
      }),
    );
  });

  it('with one flipped bit is refused, or is the same but for the one field that says where to acknowledge', () => {
    const page = pageOf({ name: 'task', token: 'tk', segmentIndex: 0, segmentCount: 1, nonce: 1n });
    holds(
      fc.property(noises, (noise) => {
        const delivery = someDelivery(noise, 1);
        page.fill(0, 224);
        deliver(page, delivery);
        // Mostly where the host wrote; a flip in the guest's own part has nothing to do with the delivery.
        const at = 224 + noise.below(noise.pick([32 + delivery.payload.length, 4096 - 224]));
        page[at]! ^= 1 << noise.below(8);
        let read: SegmentDelivery | undefined;
        const problem = problemOf(() => (read = readDelivery(page)));
        const expected = deliveryIn(page);
        deepStrictEqual(read, expected);
        const checked = within(at, 228, 237) || within(at, 244, 248) || within(at, 256, 256 + delivery.payload.length);
        if (checked) ok(problem === 'length' || problem === 'checksum' || problem === 'content-type');
        if (read === undefined) return;
        const { generation, ack } = delivery;
        if (at >= 228) strictEqual(read.generation, generation);
        if (!within(at, 237, 244) && !within(at, 248, 256)) deepStrictEqual(read.ack, ack);
        deepStrictEqual({ ...read, generation, ack }, delivery); // never another payload, length or type
      }),
    );
  });

  it('of random bytes is refused, or is what the table says, and never fails in another way', () => {
    const seen = { good: 0, bad: 0 };
    holds(
      fc.property(noises, (noise) => {
        const marker = someMarker(noise);
        const page = pageOf(marker);
        deliver(page, someDelivery(noise, marker.segmentCount));
        for (let spoilt = noise.below(3); spoilt > 0; spoilt--) {
          const [from, to] = noise.pick([
            [208, 212],
            [224, 228],
            [228, 232],
            [232, 236],
            [236, 238],
            [238, 244],
            [244, 248],
            [256, 300],
          ]);
          if (noise.once(3)) noise.bytes(to - from).copy(page, from);
          else page[from + noise.below(to - from)] = noise.pick([0, noise.below(256), noise.below(5)]);
        }
        const expected = deliveryIn(page);
        let read: SegmentDelivery | undefined;
        const problem = problemOf(() => (read = readDelivery(page)));
        strictEqual(problem === undefined, expected !== undefined);
        deepStrictEqual(read, expected);
        seen[expected === undefined ? 'bad' : 'good']++;
      }),
    );
    expect(Math.min(seen.good, seen.bad)).toBeGreaterThan((seen.good + seen.bad) / 10);
  });
});
