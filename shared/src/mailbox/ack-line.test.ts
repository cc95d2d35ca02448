import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidInput } from '../errors.js';
import { FUZZ_CASES, FUZZ_TIMEOUT_MS } from '../testing/property.js';
import { MAX_ACK_BYTES, checkMailboxName, formatAck, parseAck, parseAckOk, type Ack } from './ack-line.js';

const RUNS = FUZZ_CASES;
const NAME_CHARACTERS = Array.from('ABCXYZabcxyz019._:-');
const acks: fc.Arbitrary<Ack> = fc.record({
  mailbox: fc.string({ unit: fc.constantFrom(...NAME_CHARACTERS), minLength: 1, maxLength: 64 }),
  generation: fc.integer({ min: 1, max: 0xffffffff }),
  nonce: fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }),
  stage: fc.constantFrom('received', 'applied', 'failed'),
  detail: fc.string({ unit: 'binary', maxLength: 24 }),
});
const ack: Ack = { mailbox: 'task', generation: 3, nonce: 255n, stage: 'applied', detail: '' };

describe('ack line', () => {
  it(
    'is read as it was written, whatever it says',
    () => {
      fc.assert(
        fc.property(acks, (written) => {
          const detail = Buffer.from(written.detail, 'utf8').toString('utf8'); // a lone surrogate becomes U+FFFD
          const parse = parseAck(Buffer.from(formatAck(written), 'latin1'));
          return isDeepStrictEqual(parse, { ok: true, ack: { ...written, detail } });
        }),
        { numRuns: RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  it(
    'is refused or means exactly what its one canonical spelling means, whatever bytes arrive',
    () => {
      const words = fc.constantFrom(
        ...[
          'offshoot-ack',
          'offshoot-ack-ok',
          'v=1',
          'v=2',
          'mailbox=task',
          'mailbox=',
          'generation=1',
          'generation=01',
        ],
        ...['nonce=00000000000000ff', 'nonce=ff', 'stage=applied', 'stage=done', 'detail=%41', 'detail=%4', 'x=y', ''],
      );
      const lines = fc.oneof(
        fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
        fc.array(words, { maxLength: 9 }).map((parts) => Buffer.from(parts.join(' '), 'latin1')),
        fc
          .shuffledSubarray(
            ['v=1', 'mailbox=task', 'generation=1', 'nonce=00000000000000ff', 'stage=applied', 'detail=a'],
            {
              minLength: 5,
            },
          )
          .map((parts) => Buffer.from(['offshoot-ack', ...parts].join(' '), 'latin1')),
      );
      let accepted = 0;
      fc.assert(
        fc.property(lines, (line) => {
          const parse = parseAck(line);
          if (!parse.ok) return;
          accepted++;
          expect(line.toString('latin1').split(' ').sort()).toEqual(
            expect.arrayContaining(formatAck({ ...parse.ack, detail: '' }).split(' ')),
          );
          expect(parseAck(Buffer.from(formatAck(parse.ack), 'latin1'))).toEqual(parse);
        }),
        { numRuns: RUNS },
      );
      expect(accepted).toBeGreaterThan(RUNS / 1000);
    },
    FUZZ_TIMEOUT_MS,
  );

  it('survives one flipped byte only as another ack, never as the same one', () => {
    const line = Buffer.from(formatAck({ ...ack, detail: 'fine' }), 'latin1');
    fc.assert(
      fc.property(fc.nat({ max: line.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const torn = Buffer.from(line);
        torn[at]! ^= flip;
        expect(parseAck(torn)).not.toEqual(parseAck(line));
      }),
      { numRuns: 10_000 },
    );
  });

  it('is cut at a character when its detail would make it longer than 1200 bytes', () => {
    const line = formatAck({ ...ack, detail: '🔑'.repeat(500) });
    expect(line.length).toBeLessThanOrEqual(MAX_ACK_BYTES);
    expect(line.length).toBeGreaterThan(MAX_ACK_BYTES - 12);
    const parse = parseAck(Buffer.from(line, 'latin1'));
    expect(parse.ok && /^(🔑)+$/u.test(parse.ack.detail)).toBe(true);
  });

  it('of an answer is not found inside anything longer', () => {
    const answer = 'offshoot-ack-ok nonce=00000000000000ff';
    expect(parseAckOk(Buffer.from(answer))).toBe(255n);
    expect(parseAckOk(Buffer.from(`${answer} ${answer}`))).toBeUndefined();
  });
});

describe('mailbox name', () => {
  it('is 1 to 64 of A-Z a-z 0-9 . _ : -', () => {
    for (const good of ['a', 'offshoot.network', 'x'.repeat(64), 'A-z_0:9.'])
      expect(() => {
        checkMailboxName('name', good);
      }).not.toThrow();
    for (const wrong of ['', 'x'.repeat(65), 'a b', 'a\n', 'ä', 'a/b'])
      expect(() => {
        checkMailboxName('mailboxes[0].name', wrong);
      }).toThrow(InvalidInput);
  });
});
