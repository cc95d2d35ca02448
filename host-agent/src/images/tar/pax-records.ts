import { fromBytes } from './byte-string.js';
import { malformedTar } from './malformed-tar.js';
import type { ByteString } from './byte-string.js';

/** What an extended header says, by keyword. Values are bytes: those of extended attributes are no text. */
export type PaxRecords = ReadonlyMap<string, ByteString>;

/**
 * Records are `LENGTH KEYWORD=VALUE\n`, the length in decimal and of the whole record (POSIX pax). The packages `tar` and
 * `tar-stream` decode values as UTF-8 (the first splits them at newlines, too), which destroys file capabilities and ACLs.
 */
export function parsePaxRecords(data: Buffer): PaxRecords {
  const records = new Map<string, ByteString>();
  for (let at = 0; at < data.length;) {
    const space = data.indexOf(0x20, at);
    const digits = space < 0 ? '' : data.toString('latin1', at, space);
    const length = /^[1-9]\d{0,8}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    const equals = data.indexOf(0x3d, space);
    const isWhole = length > 0 && end <= data.length && data[end - 1] === 0x0a && equals > space && equals < end;
    if (!isWhole) throw malformedTar('an extended header has no LENGTH KEYWORD=VALUE where one must be');
    records.set(data.toString('latin1', space + 1, equals), fromBytes(data.subarray(equals + 1, end - 1)));
    at = end;
  }
  return records;
}

/** A decimal number, a fraction left out; undefined without the record. */
export function paxNumber(records: PaxRecords, keyword: string): number | undefined {
  const value = records.get(keyword);
  if (value === undefined) return undefined;
  const number = /^-?\d+(\.\d*)?$/.test(value) ? Math.trunc(Number(value)) : NaN;
  if (!Number.isSafeInteger(number)) throw malformedTar(`${keyword} of an extended header is ${JSON.stringify(value)}`);
  return Math.max(number, 0);
}
