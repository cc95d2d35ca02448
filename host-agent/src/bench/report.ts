import { table } from '../cli/tables.js';
import type { CallRate } from './call-rate.js';
import type { Goal } from './goals.js';
import type { Machine } from './machine.js';
import { FORK_PHASES } from './our-instances.js';
import type { RoundResult } from './round.js';
import type { Summary } from './statistics.js';

/** Everything one run of the bench found; what is written into its file. */
export interface BenchResult {
  readonly version: string;
  readonly startedAt: string;
  readonly machine: Machine;
  readonly image: { readonly id: string; readonly kernelRelease: string };
  readonly rounds: readonly RoundResult[];
  readonly goals: readonly Goal[];
  readonly getInstance: CallRate;
  readonly daemonResidentMib: number;
}

/** The result as tables. */
export function report({ machine, rounds, goals, getInstance, daemonResidentMib }: BenchResult): string {
  const { cpu, cores, kernel, driver, driverVersion, accelerator, acceleratorReason, networkMode } = machine;
  const why = acceleratorReason === '' ? '' : ` (${acceleratorReason})`;
  const parts = [
    `${cpu}, ${String(cores)} cores, Linux ${kernel}; ${driver} ${driverVersion} on ${accelerator}${why}; network ${networkMode}`,
  ];
  for (const round of rounds)
    parts.push(`${String(round.memoryMib)} MiB of guest memory, milliseconds\n${timesOf(round)}`);
  parts.push(table(['GOAL', 'MEMORY', 'WHAT', 'MEASURED', 'LIMIT', ''], goals.map(goalRow)));
  const { p50, p99, perSecond } = getInstance;
  parts.push(
    `GetInstance: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms, ${String(perSecond)} a second; daemon: ${String(daemonResidentMib)} MiB resident`,
  );
  return parts.join('\n\n');
}

function timesOf({ fork, times, daemonCpuMsPerFork, loadAverage }: RoundResult): string {
  const rows = [
    ...FORK_PHASES.map((phase) => row(`fork: ${phase}`, fork[phase])),
    row("fork: host's share", fork.host),
    row('fork: the whole call', fork.call),
    row('boot', times.boot),
    row('standby, booted here', times.standbyBooted),
    row('standby, restored before', times.standbyRestored),
    row('  the whole call, guest warm', times.standbyRestoredCall),
    row('restore', times.restore),
    row('stock: boot', times.stockBoot),
    row('stock: stop + migrate', times.stockMigrate),
    row('stock: start + -incoming + cont', times.stockRestore),
    row('  start', times.stockSpawn),
    row('  -incoming', times.stockLoad),
    row('stock: cont to agent answer', times.stockAnswer),
  ];
  const { before, after } = loadAverage;
  return (
    `${table(['', 'N', 'P50', 'P95', 'MAX'], rows)}\n` +
    `daemon's processor time for a fork and its removal: ${daemonCpuMsPerFork.toFixed(0)} ms; load average ${String(before)} to ${String(after)}`
  );
}

function row(what: string, summary: Summary | undefined): string[] {
  if (summary === undefined) return [what, '', '', '', ''];
  return [what, String(summary.samples), ...[summary.p50, summary.p95, summary.max].map(number)];
}

const number = (value: number): string => (value < 100 ? value.toFixed(1) : value.toFixed(0));

function goalRow({ id, what, memoryMib, measured, unit, limit, met }: Goal): string[] {
  const bound = 'atMost' in limit ? `<= ${String(limit.atMost)}` : `>= ${String(limit.atLeast)}`;
  return [
    id,
    `${String(memoryMib)} MiB`,
    what,
    `${number(measured)} ${unit}`,
    `${bound} ${unit}`,
    met ? 'met' : 'missed',
  ];
}
