import { table } from '../cli/tables.js';
import type { CapturesResult } from './captures.js';
import { FORK_PHASES, type ForkTime } from './our-instances.js';
import type { Summary } from './statistics.js';
import { summaryRow } from './summary-row.js';

/** Captures and generations with one size of memory, as a table. */
export function capturesReport({
  memoryMib,
  firstPause,
  later,
  standbyBooted,
  forks,
  loadAverage,
}: CapturesResult): string {
  const rows = [
    summaryRow('source pause: first capture', firstPause),
    ...later.map(({ dirtyMib, pause }) => summaryRow(`source pause: ${changed(dirtyMib)}`, pause)),
    summaryRow('standby: booted here', standbyBooted),
    ...later.map(({ dirtyMib, standby }) => summaryRow(`standby: captured before, ${changed(dirtyMib)}`, standby)),
    ...forks.flatMap(({ depth, times }) =>
      [...FORK_PHASES, 'host' as const].map((phase) =>
        summaryRow(`fork at depth ${String(depth)}: ${phaseName(phase)}`, times[phase]),
      ),
    ),
  ];
  const { before, after } = loadAverage;
  return (
    `${String(memoryMib)} MiB of guest memory, milliseconds\n${table(['', 'N', 'P50', 'P95', 'MAX'], rows)}\n` +
    `load average ${String(before)} to ${String(after)}`
  );
}

const changed = ({ p50 }: Summary): string => `${p50.toFixed(1)} MiB changed`;
const phaseName = (phase: ForkTime): string => (phase === 'host' ? "host's share" : phase);
