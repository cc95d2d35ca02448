import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import { REQUEST_LIMITS as L } from './contract/request-limits.js';
import { quoted, type Violations } from './violations.js';

const NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const LABEL_KEY = /^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$/;
/** What a terminal would obey has no place in a label. */
const CONTROL = /\p{Cc}/u;

/** google/protobuf/duration.proto. */
const MAX_DURATION_SECONDS = 315_576_000_000n;
const MAX_NANOS = 999_999_999;

/** An instance's name; undefined when empty, for one to be made up. */
export function parseName(field: string, name: string, violations: Violations): string | undefined {
  if (name === '') return undefined;
  if (!NAME.test(name) || name.length > L.nameLength)
    violations.add(
      field,
      `must be 1 to ${String(L.nameLength)} of a-z 0-9 -, beginning and ending with a letter or digit, got ${quoted(name)}`,
      'NAME_MALFORMED',
    );
  return name;
}

/** An id, name or id prefix. Whether it exists is for the services to say. */
export function parseReference(field: string, reference: string, violations: Violations): string {
  if (reference === '') violations.add(field, 'is missing: give an id, a name or the beginning of an id');
  else if (reference.length > L.referenceLength)
    violations.add(
      field,
      `must be an id, a name or the beginning of an id, at most ${String(L.referenceLength)} characters, got ${quoted(reference)}`,
    );
  return reference;
}

export function parseLabels(
  field: string,
  labels: Readonly<Record<string, string>>,
  violations: Violations,
): Record<string, string> {
  const entries = Object.entries(labels);
  if (entries.length > L.labels)
    violations.add(field, `must be at most ${String(L.labels)}, got ${String(entries.length)}`);
  for (const [key, value] of entries) {
    if (!LABEL_KEY.test(key) || key.length > L.labelKeyLength)
      violations.add(
        field,
        `a key must be 1 to ${String(L.labelKeyLength)} of A-Z a-z 0-9 . _ / -, beginning and ending with a letter or digit, got ${quoted(key)}`,
      );
    if (Buffer.byteLength(value) > L.labelValueBytes || CONTROL.test(value))
      violations.add(
        `${field}[${quoted(key)}]`,
        `must be at most ${String(L.labelValueBytes)} bytes without control characters, got ${quoted(value)}`,
      );
  }
  return Object.fromEntries(entries);
}

/**
 * Milliseconds of a Duration: `limits.default` when unset, from 0 to `limits.max`. Rounded up to whole ones, because timers
 * take no others and a wait of half a millisecond is not one of none.
 */
export function parseDuration(
  field: string,
  duration: Duration | undefined,
  limits: { readonly max: number; readonly default: number },
  violations: Violations,
): number {
  if (duration === undefined) return limits.default;
  const { seconds, nanos } = duration;
  const wrong = (got: string): number => {
    violations.add(
      field,
      `must be from 0 to ${String(limits.max / 1000)} s (${String(limits.default / 1000)} s when unset), got ${got}`,
      'DURATION_OUT_OF_RANGE',
    );
    return limits.default;
  };
  const mixed = (seconds > 0n && nanos < 0) || (seconds < 0n && nanos > 0);
  if (mixed || Math.abs(nanos) > MAX_NANOS || seconds > MAX_DURATION_SECONDS || seconds < -MAX_DURATION_SECONDS) {
    violations.add(
      field,
      `is no valid duration: seconds and nanos must have one sign and nanos stay within ±${String(MAX_NANOS)}, got seconds ${String(seconds)} and nanos ${String(nanos)}`,
      'DURATION_MALFORMED',
    );
    return limits.default;
  }
  const milliseconds = Number(seconds) * 1000 + nanos / 1e6;
  if (milliseconds < 0 || milliseconds > limits.max) return wrong(`${String(milliseconds / 1000)} s`);
  return Math.ceil(milliseconds);
}

/** As {@link parseDuration}, but 0 too is the default: for waits that cannot be of no time. */
export function parseTimeout(
  field: string,
  duration: Duration | undefined,
  limits: { readonly max: number; readonly default: number },
  violations: Violations,
): number {
  return parseDuration(field, duration, limits, violations) || limits.default;
}

/** Which page of a list. */
export function parsePage(
  { pageSize, pageToken }: { readonly pageSize: number; readonly pageToken: string },
  violations: Violations,
): { pageSize: number; pageToken: string } {
  if (pageSize > L.pageSize.max)
    violations.add(
      'page_size',
      `must be 1 to ${String(L.pageSize.max)} (${String(L.pageSize.default)} when 0), got ${String(pageSize)}`,
    );
  if (pageToken.length > L.pageTokenLength || !/^[\x21-\x7e]*$/.test(pageToken))
    violations.add('page_token', `must be a next_page_token of an earlier answer, got ${quoted(pageToken)}`);
  return { pageSize: pageSize === 0 ? L.pageSize.default : pageSize, pageToken };
}
