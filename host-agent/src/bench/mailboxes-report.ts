import { table } from '../cli/tables.js';
import { gigabytesPerSecond, type DeliveryTimes, type MailboxesResult, type ScanSpeed } from './mailboxes.js';
import type { Summary } from './statistics.js';

const LINES: Readonly<Record<keyof DeliveryTimes, string>> = {
  open: "open the fork's memory",
  small: 'deliver 1 KiB, one frame',
  large: 'deliver 200 KiB, 54 frames',
  patchWithNone: "a fork's patch: identity alone",
  patchWithSmall: "a fork's patch: and 1 KiB",
  patchWithLarge: "a fork's patch: and 200 KiB",
};

/** Searches, deliveries and indexes, as tables. */
export function mailboxesReport({ scans, deliveries, indexes, loadAverage }: MailboxesResult): string {
  const times = ['N', 'P50', 'P95', 'MAX'];
  const { before, after } = loadAverage;
  return [
    table(['SEARCH, milliseconds', 'FILE', 'READ', 'FRAMES', ...times, 'GB/S'], scans.map(scanRow)),
    ...deliveries.map(({ memoryMib, times: of }) =>
      table(
        [`${String(memoryMib)} MiB, milliseconds`, ...times],
        (Object.keys(LINES) as (keyof DeliveryTimes)[]).map((line) => [LINES[line], ...cells(of[line])]),
      ),
    ),
    table(
      ['INDEX: MAILBOXES', 'FRAMES', 'BYTES'],
      indexes.map(({ mailboxes, frames, bytes }) => [mailboxes, frames, bytes].map(String)),
    ),
    `load average ${String(before)} to ${String(after)}`,
  ].join('\n\n');
}

function scanRow(scan: ScanSpeed): string[] {
  const { what, memoryMib, fileBytes, readBytes, frames, times } = scan;
  const speed = readBytes > 0 ? gigabytesPerSecond(scan).toFixed(2) : '';
  return [`${what}, ${String(memoryMib)} MiB`, mib(fileBytes), mib(readBytes), String(frames), ...cells(times), speed];
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(bytes % 2 ** 20 === 0 ? 0 : 1)} MiB`;

/** Of times that are far below a millisecond, too. */
const cells = ({ samples, p50, p95, max }: Summary): string[] => [
  String(samples),
  ...[p50, p95, max].map((ms) => (ms < 10 ? ms.toFixed(2) : ms.toFixed(1))),
];
