import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import { InvalidArgumentError } from 'commander';

/** For the verbs that make something, and whose repeat would make it twice. */
export const REQUEST_ID_HELP =
  'id of this request: repeated with it, the command gives the first answer and makes nothing';

/** Collects `K=V` of a repeated option. */
export function collectPairs(text: string, earlier: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [key, value] = splitPair(text, 'KEY=VALUE');
  if (Object.hasOwn(earlier, key)) throw new InvalidArgumentError(`${key} is given twice.`);
  return { ...earlier, [key]: value };
}

export const collect = (text: string, earlier: readonly string[] = []): string[] => [...earlier, text];

/** The text before and after the first `=`. */
export function splitPair(text: string, shape: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError(`It must have the form ${shape}.`);
  return [text.slice(0, at), text.slice(at + 1)];
}

export function parseWhole(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

const BYTES_OF_UNIT: Readonly<Record<string, bigint>> = {
  MiB: 2n ** 20n,
  GiB: 2n ** 30n,
  TiB: 2n ** 40n,
};

/** Bytes of `10GiB`. Which sizes are allowed is for the daemon to say. */
export function parseSize(text: string): bigint {
  const [, number = '', unit = ''] = /^(\d{1,9})([MGT]iB)$/.exec(text) ?? [];
  const bytes = BYTES_OF_UNIT[unit];
  if (bytes === undefined) throw new InvalidArgumentError('It must be a whole number with MiB, GiB or TiB, as 10GiB.');
  return BigInt(number) * bytes;
}

/** Seconds, with decimals, as a Duration. Which are allowed is for the daemon to say, so a negative number passes. */
export function parseSeconds(text: string): Duration {
  if (!/^-?\d{1,9}(\.\d+)?$/.test(text)) throw new InvalidArgumentError('It must be a number of seconds.');
  const nanos = Math.round(Number(text) * 1e9);
  return { seconds: BigInt(Math.trunc(nanos / 1e9)), nanos: nanos % 1e9 };
}
