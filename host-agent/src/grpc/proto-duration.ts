import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';

/** Milliseconds as a Duration, to the microsecond: finer is noise. Never negative, whatever a clock did. */
export function toDuration(milliseconds: number): Duration {
  const microseconds = Math.max(0, Math.round(milliseconds * 1000));
  return { seconds: BigInt(Math.floor(microseconds / 1e6)), nanos: (microseconds % 1e6) * 1000 };
}
