import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidInput } from '../errors.js';
import { FUZZ_CASES, FUZZ_TIMEOUT_MS } from '../testing/property.js';
import {
  ACK_TRANSPORT,
  CONTENT_TYPE,
  FRAME_LAYOUT,
  FRAME_MAGIC,
  FRAME_SIZE,
  FRAME_STATE,
  MAX_SEGMENTS,
  SEGMENT_CAPACITY,
  type AckTransport,
  type ContentType,
  type FrameState,
} from './frame-layout.js';
import {
  armFrame,
  deliveryBytes,
  generationBytes,
  hasFrameMagic,
  parseFrameHeader,
  readDelivery,
  readFrameHeader,
  readGeneration,
  writeFrameState,
  type FrameMarker,
  type SegmentDelivery,
} from './frame.js';

const RUNS = FUZZ_CASES;
const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn });
const NAME_CHARACTERS = Array.from('ABCXYZabcxyz019._:-');
const markers: fc.Arbitrary<FrameMarker> = fc
  .record({
    name: fc.string({ unit: fc.constantFrom(...NAME_CHARACTERS), minLength: 1, maxLength: 64 }),
    token: fc.string({ unit: 'binary', minLength: 1, maxLength: 32 }).map((text) => text.replaceAll('\0', 'x')),
    segmentCount: fc.integer({ min: 1, max: MAX_SEGMENTS }),
    index: fc.nat(),
    nonce: u64,
  })
  .map(({ index, ...marker }) => ({ ...marker, segmentIndex: index % marker.segmentCount }));
const deliveries: fc.Arbitrary<Omit<SegmentDelivery, 'totalLength'>> = fc.record({
  generation: fc.integer({ min: 1, max: 0xffffffff }),
  contentType: fc.constantFrom(...(Object.keys(CONTENT_TYPE) as ContentType[])),
  payload: fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
  ack: fc.record({
    transport: fc.constantFrom(...(Object.keys(ACK_TRANSPORT) as AckTransport[])),
    port: fc.integer({ min: 0, max: 0xffff }),
    address: fc.ipV4(),
    nonce: u64,
  }),
});

const marker: FrameMarker = { name: 'task', token: 'tk', segmentIndex: 0, segmentCount: 1, nonce: 7n };
const delivery: SegmentDelivery = {
  generation: 1,
  contentType: 'json',
  payload: Buffer.from('{}'),
  totalLength: 2,
  ack: { transport: 'udp', port: 4000, address: '10.0.2.2', nonce: 9n },
};

function armed(overrides: Partial<FrameMarker> = {}): Buffer {
  const page = Buffer.alloc(FRAME_SIZE, 0xee);
  armFrame(page, { ...marker, ...overrides });
  return page;
}

describe('frame layout', () => {
  it('covers the 4096 bytes of the page in order, without gap or overlap', () => {
    let end = 0;
    for (const { offset, size } of Object.values(FRAME_LAYOUT)) {
      expect(offset).toBe(end);
      end += size;
    }
    expect(end).toBe(FRAME_SIZE);
    expect(FRAME_MAGIC).toHaveLength(FRAME_LAYOUT.magic.size);
  });
});

describe('arming a frame', () => {
  it(
    'reads back as it was written, whatever name, token, segment and nonce',
    () => {
      const page = Buffer.alloc(FRAME_SIZE);
      fc.assert(
        fc.property(markers, fc.constantFrom(...(Object.keys(FRAME_STATE) as FrameState[])), (written, state) => {
          armFrame(page, written);
          writeFrameState(page, state);
          const token = Buffer.from(written.token, 'utf8').toString('utf8'); // a lone surrogate becomes U+FFFD
          return isDeepStrictEqual(readFrameHeader(page), { ...written, token, state, generation: 0 });
        }),
        { numRuns: RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  it.each<[string, Partial<FrameMarker>]>([
    ['an empty name', { name: '' }],
    ['a name of 65 characters', { name: 'n'.repeat(65) }],
    ['a name with a slash', { name: 'a/b' }],
    ['an empty token', { token: '' }],
    ['a token of 129 bytes', { token: 't'.repeat(127) + 'ü' }],
    ['a token with a NUL', { token: 'a\0b' }],
    ['no segments', { segmentCount: 0 }],
    ['65 segments', { segmentCount: 65 }],
    ['half a segment', { segmentCount: 1.5 }],
    ['a segment beyond the last', { segmentIndex: 1 }],
    ['a negative segment', { segmentIndex: -1 }],
    ['a fraction of a segment', { segmentIndex: 0.5 }],
  ])('refuses %s and leaves the page alone', (_what, overrides) => {
    const page = Buffer.alloc(FRAME_SIZE, 0xee);
    expect(() => {
      armFrame(page, { ...marker, ...overrides });
    }).toThrow(InvalidInput);
    expect(page.every((byte) => byte === 0xee)).toBe(true);
  });

  it('says which of the two segment numbers is wrong', () => {
    const fieldOf = (overrides: Partial<FrameMarker>): string | undefined => {
      try {
        armed(overrides);
      } catch (error) {
        if (error instanceof InvalidInput) return error.violations[0]?.field;
        throw error;
      }
      return undefined;
    };
    expect(fieldOf({ segmentCount: 0 })).toBe('segment_count');
    expect(fieldOf({ segmentIndex: 1 })).toBe('segment_index');
  });
});

describe('reading a frame', () => {
  it(
    'never throws and never invents a header, whatever the guest wrote behind the magic',
    () => {
      const page = armed();
      const pristine = Buffer.from(page);
      const bytes = fc.record({ offset: fc.integer({ min: 0, max: 227 }), value: fc.integer({ min: 0, max: 255 }) });
      fc.assert(
        fc.property(fc.array(bytes, { minLength: 1, maxLength: 6 }), (writes) => {
          for (const { offset, value } of writes) page[offset] = value;
          const parse = parseFrameHeader(page);
          if (parse.ok) {
            const copy = Buffer.alloc(FRAME_SIZE);
            armFrame(copy, parse.header);
            writeFrameState(copy, parse.header.state);
            copy.writeUInt32LE(parse.header.generation, FRAME_LAYOUT.generation.offset);
            expect(copy.equals(page)).toBe(true); // what was read is all that stood there
          }
          for (const { offset } of writes) page[offset] = pristine[offset]!;
        }),
        { numRuns: RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  it('refuses a page that is too short, header and delivery alike', () => {
    expect(parseFrameHeader(armed().subarray(0, FRAME_SIZE - 1))).toMatchObject({ ok: false, problem: 'size' });
    expect(() => readDelivery(armed().subarray(0, 300))).toThrow(/300 bytes instead of 4096/);
  });

  it('does not repeat the token in the error', () => {
    const page = armed({ token: 'very-secret' });
    page[207] = 1;
    expect(() => readFrameHeader(page)).toThrow(/^mailbox frame: token is not padded with NULs$/);
  });

  it('sees the magic only when all 16 bytes are there', () => {
    expect(hasFrameMagic(armed())).toBe(true);
    for (let i = 0; i < 16; i++) {
      const page = armed();
      page[i]! ^= 0x20;
      expect(hasFrameMagic(page)).toBe(false);
    }
  });
});

describe('delivering into a frame', () => {
  it(
    'reads back as it was written, whatever payload and ack route',
    () => {
      const page = armed();
      fc.assert(
        fc.property(deliveries, (written) => {
          const whole = { ...written, ack: { ...written.ack }, totalLength: written.payload.length };
          const header = readFrameHeader(armedAgain(page));
          const { offset, bytes } = deliveryBytes(header, whole);
          bytes.copy(page, offset);
          const before = readGeneration(page);
          const last = generationBytes(whole.generation);
          last.bytes.copy(page, last.offset);
          const after = { ...header, state: 'delivered', generation: whole.generation };
          return (
            before === 0 &&
            isDeepStrictEqual(readDelivery(page), whole) &&
            isDeepStrictEqual(readFrameHeader(page), after)
          );
        }),
        { numRuns: RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  it('leaves name, token and segment numbers untouched', () => {
    const { offset } = deliveryBytes(readFrameHeader(armed()), delivery);
    expect(offset).toBe(FRAME_LAYOUT.state.offset);
  });

  it('does not show the new generation before it is written last', () => {
    const page = armed();
    const { offset, bytes } = deliveryBytes(readFrameHeader(page), { ...delivery, generation: 5 });
    bytes.copy(page, offset);
    expect(() => readDelivery(page)).toThrow(/nothing was delivered yet/);
  });

  it('takes a payload of exactly the capacity, and refuses one byte more without repeating it', () => {
    const header = readFrameHeader(armed());
    const of = (length: number): SegmentDelivery => ({
      ...delivery,
      payload: Buffer.alloc(length, 'secret'),
      totalLength: length,
    });
    const { offset, bytes } = deliveryBytes(header, of(SEGMENT_CAPACITY));
    expect(offset + bytes.length).toBe(FRAME_SIZE);
    expect(() => deliveryBytes(header, of(SEGMENT_CAPACITY + 1))).toThrow(
      /^payload: must be at most 3840 bytes in one segment, got 3841$/,
    );
  });
});

/** Arms the page again without the cost of a new one. */
function armedAgain(page: Buffer): Buffer {
  armFrame(page, marker);
  return page;
}
