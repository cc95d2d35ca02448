import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { noises, type Noise } from '../testing/noise.js';
import { FUZZ_TIMEOUT_MS, holds } from '../testing/property.js';
import { someName } from '../testing/some-frame.js';
import {
  MAX_ACK_BYTES,
  formatAck,
  formatAckOk,
  parseAck,
  parseAckOk,
  type Ack,
  type AckParse,
  type AckStage,
} from './ack-line.js';

/** A number from 1 to 4294967295 without leading zeros. */
const GENERATION =
  '[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]';

/** Well-formed UTF-8 (RFC 3629, section 4), of which everything but the unreserved characters is percent-encoded. */
const DETAIL = (() => {
  const tail = '%[89AB][0-9A-F]';
  const two = `%(?:C[2-9A-F]|D[0-9A-F])${tail}`;
  const three = `(?:%E0%[AB][0-9A-F]|%E[1-9A-CEF]${tail}|%ED%[89][0-9A-F])${tail}`;
  const four = `(?:%F0%[9AB][0-9A-F]|%F[1-3]${tail}|%F4%8[0-9A-F])${tail}${tail}`;
  return `(?:[A-Za-z0-9\\-_.~]|%[0-7][0-9A-F]|${two}|${three}|${four})*`;
})();

/** The whole line in one expression: the pairs in any order, none twice, none but these. */
const LINE = new RegExp(
  '^(?!.* ([a-z]+)=.* \\1=)' +
    ['v', 'mailbox', 'generation', 'nonce', 'stage'].map((key) => `(?=.* ${key}=)`).join('') +
    `offshoot-ack(?: (?:v=1|mailbox=[A-Za-z0-9._:-]{1,64}|generation=(?:${GENERATION})|nonce=[0-9a-f]{16}|stage=(?:received|applied|failed)|detail=${DETAIL}))+$`,
  's',
);

/** What a line means by that expression alone. */
function meaningOf(datagram: Buffer): Ack | undefined {
  const line = datagram.toString('latin1');
  if (line.length > 1200 || !LINE.test(line)) return undefined;
  const value = (key: string): string => new RegExp(` ${key}=([^ ]*)`).exec(line)?.[1] ?? '';
  const bytes = value('detail').replace(/%(..)/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  return {
    mailbox: value('mailbox'),
    generation: parseInt(value('generation'), 10),
    nonce: BigInt(`0x${value('nonce')}`),
    stage: value('stage') as AckStage,
    detail: Buffer.from(bytes, 'latin1').toString('utf8'),
  };
}

/** The parser says what the expression says, and a reject is counted under the reason of something that is there. */
function isRead(datagram: Buffer): AckParse {
  const parse = parseAck(datagram);
  const meaning = meaningOf(datagram);
  if (meaning !== undefined) deepStrictEqual(parse, { ok: true, ack: meaning });
  else strictEqual(parse.ok, false, datagram.toString('latin1'));
  return parse;
}

const DETAIL_WORDS = [
  'a',
  ' ',
  '=',
  '%',
  '%41',
  '\0',
  '\r\n',
  '\u007f',
  '\u0080',
  'ü',
  '€',
  '\ufffd',
  '🔑',
  '\u{10ffff}',
] as const;

function someAck(noise: Noise): Ack {
  const words = noise.once(40) ? noise.below(500) : noise.below(4);
  return {
    mailbox: someName(noise),
    generation: noise.pick([1, 2 ** 32 - 1, 1 + noise.below(2 ** 32 - 1)]),
    nonce: noise.pick([0n, 2n ** 64n - 1n, noise.u64()]),
    stage: noise.pick(['received', 'applied', 'failed']),
    detail: Array.from({ length: words }, () => noise.pick(DETAIL_WORDS)).join(''),
  };
}

const line = (noise: Noise): string => formatAck(someAck(noise));

/** A value that stands for another: of the same key, of a key that is none, or over-long. */
const PAIRS = [
  ...[
    'v=1',
    'v=',
    'v=2',
    'v=01',
    'v=1 ',
    'V=1',
    'mailbox=task',
    'mailbox=',
    'mailbox=a/b',
    `mailbox=${'m'.repeat(65)}`,
  ],
  ...['generation=1', 'generation=0', 'generation=01', 'generation=-1', 'generation=1e3', 'generation=4294967296'],
  ...['generation=9999999999', 'generation=0x1', 'generation=1.0', 'generation=', 'nonce=00000000000000ff'],
  ...['nonce=00000000000000FF', 'nonce=ff', 'nonce=000000000000000ff', 'nonce=', 'stage=applied', 'stage=Applied'],
  ...['stage=appliedx', 'stage=', 'detail=', 'detail=%4', 'detail=%e2', 'detail=%C3', 'detail=%C3%BC', 'detail=a+b'],
  ...['detail=%ED%A0%80', 'detail=%C0%80', 'detail=%00', 'detail=a=b', '=', '=v', 'v', '', 'x=y', '__proto__=1'],
  ...[`${'k'.repeat(600)}=1`, `detail=${'d'.repeat(1300)}`, 'constructor=1', 'offshoot-ack', 'offshoot-ack-ok'],
] as [string, ...string[]];

/** One thing done to the words of a good line. */
const TOKEN_MUTATIONS: readonly ((words: string[], noise: Noise) => unknown)[] = [
  (words, noise) => words.splice(noise.below(words.length), 1),
  (words, noise) => words.splice(noise.below(words.length + 1), 0, words[noise.below(words.length)] ?? ''),
  (words, noise) => words.splice(noise.below(words.length + 1), 0, noise.pick(PAIRS)),
  (words, noise) => words.splice(noise.below(words.length), 1, noise.pick(PAIRS)),
  (words, noise) => words.push(words.splice(noise.below(words.length), 1)[0] ?? ''),
  (words, noise) => words.splice(1 + noise.below(words.length), 0, words.pop() ?? ''),
];

/** One thing done to the bytes of a line. */
const BYTE_MUTATIONS: readonly ((bytes: Buffer, noise: Noise) => Buffer)[] = [
  (bytes, noise) =>
    insert(bytes, noise.pick([0, bytes.length, noise.below(bytes.length + 1)]), noise.pick(STRAY_BYTES)),
  (bytes, noise) => Buffer.from(bytes.map((byte, at) => (at === noise.below(bytes.length) ? noise.below(256) : byte))),
  (bytes, noise) => bytes.subarray(0, noise.below(bytes.length + 1)),
  (bytes, noise) => bytes.subarray(noise.below(bytes.length + 1)),
  (bytes, noise) => Buffer.concat([bytes, Buffer.from(noise.pick([' ', '\n', '\r\n', '\0', ' v=1'])), bytes]),
  (bytes, noise) => noise.bytes(noise.below(bytes.length + 1)),
];

const STRAY_BYTES = [
  '\0',
  '\t',
  '\n',
  '\r',
  '\r\n',
  ' ',
  '  ',
  '=',
  '%',
  '\u007f',
  '\u0080',
  '\u00a0',
  '\u00ff',
  '\u001f',
  '~',
  '!',
] as const;

const insert = (bytes: Buffer, at: number, stray: string): Buffer =>
  Buffer.concat([bytes.subarray(0, at), Buffer.from(stray, 'latin1'), bytes.subarray(at)]);

describe('any ack line', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('fits into 1200 bytes, and is read as it was written but for what of the detail did not fit', () => {
    holds(
      fc.property(noises, (noise) => {
        const ack = someAck(noise);
        const datagram = Buffer.from(formatAck(ack), 'latin1');
        ok(datagram.length <= MAX_ACK_BYTES);
        const parse = isRead(datagram);
        if (!parse.ok) throw new Error(parse.reject);
        ok(ack.detail.startsWith(parse.ack.detail));
        deepStrictEqual({ ...parse.ack, detail: '' }, { ...ack, detail: '' });
        // Nothing is cut that would have fitted: the longest encoded character has 12 bytes.
        if (parse.ack.detail !== ack.detail) ok(datagram.length > MAX_ACK_BYTES - 12);
      }),
    );
  });

  it('with words left out, repeated, moved, exchanged or added is refused, or means what its words say', () => {
    const seen = { good: 0, bad: 0 };
    holds(
      fc.property(noises, fc.constantFrom(...TOKEN_MUTATIONS), (noise, mutate) => {
        const words = line(noise).split(' ');
        for (let times = 1 + noise.below(2); times > 0; times--) mutate(words, noise);
        const parse = isRead(Buffer.from(words.join(' '), 'latin1'));
        seen[parse.ok ? 'good' : 'bad']++;
      }),
    );
    expect(Math.min(seen.good, seen.bad)).toBeGreaterThan((seen.good + seen.bad) / 20);
  });

  it('with bytes put in, changed or cut off is refused, or means what its bytes say', () => {
    const seen = { good: 0, bad: 0 };
    holds(
      fc.property(noises, fc.constantFrom(...BYTE_MUTATIONS), (noise, mutate) => {
        const parse = isRead(mutate(Buffer.from(line(noise), 'latin1'), noise));
        seen[parse.ok ? 'good' : 'bad']++;
      }),
    );
    expect(Math.min(seen.good, seen.bad)).toBeGreaterThan((seen.good + seen.bad) / 20);
  });

  it('of words that belong to no line, in any number, is refused or means what its words say', () => {
    const pairs = fc.array(fc.constantFrom(...PAIRS), { maxLength: 8 });
    holds(
      fc.property(pairs, (words) => {
        isRead(Buffer.from(['offshoot-ack', ...words].join(' '), 'latin1'));
      }),
    );
  });
});

describe('any answer to an ack', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('is read as it was written, and with a byte put in, changed or cut off only when it is another answer', () => {
    holds(
      fc.property(noises, fc.constantFrom(...BYTE_MUTATIONS), (noise, mutate) => {
        const nonce = noise.u64();
        const answer = Buffer.from(formatAckOk(nonce), 'latin1');
        strictEqual(parseAckOk(answer), nonce);
        const mutant = mutate(answer, noise).toString('latin1');
        const read = parseAckOk(Buffer.from(mutant, 'latin1'));
        // Written out anew it has to be the very bytes that were read: there is one spelling of each answer.
        if (read !== undefined) strictEqual(formatAckOk(read), mutant);
      }),
    );
  });
});
