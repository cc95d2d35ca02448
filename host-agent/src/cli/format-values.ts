import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';

/** Without the prefix that only the wire needs. */
export const formatState = (state: InstanceState): string =>
  InstanceState[state].replace('INSTANCE_STATE_', '').toLowerCase();

export function formatBytes(bytes: bigint): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${String(Math.round(value * 10) / 10)} ${units[unit] ?? ''}`;
}

export function formatDuration(duration: Duration | undefined): string {
  if (duration === undefined) return '-';
  const milliseconds = Number(duration.seconds) * 1000 + duration.nanos / 1e6;
  return milliseconds < 1000
    ? `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`
    : `${(milliseconds / 1000).toFixed(2)} s`;
}

/** How long ago, in its largest unit. */
export function formatAge(since: Date | undefined, now = Date.now()): string {
  if (since === undefined) return '-';
  const seconds = Math.max(0, Math.floor((now - since.getTime()) / 1000));
  if (seconds < 60) return `${String(seconds)} s`;
  if (seconds < 3600) return `${String(Math.floor(seconds / 60))} min`;
  if (seconds < 86_400) return `${String(Math.floor(seconds / 3600))} h`;
  return `${String(Math.floor(seconds / 86_400))} d`;
}

export const formatMap = (map: Readonly<Record<string, string>>): string =>
  Object.entries(map)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');

/** Words from a guest as they may be shown on a terminal: nothing that it would obey. */
export const printable = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}]/gu, (c) => (c === '\n' ? ' ' : '\ufffd'));
