import { table } from '../cli/tables.js';
import type { CallRate } from './call-rate.js';
import { capturesReport } from './captures-report.js';
import type { CapturesResult } from './captures.js';
import type { Goal } from './goals.js';
import type { Machine } from './machine.js';
import { mailboxesReport } from './mailboxes-report.js';
import type { MailboxesResult } from './mailboxes.js';
import { FORK_PHASES } from './our-instances.js';
import { restartsReport, type RestartsResult } from './restarts.js';
import type { RoundResult } from './round.js';
import { shortNumber, summaryRow } from './summary-row.js';

/** Where and with what a run of the bench measured. */
export interface BenchRun {
  readonly version: string;
  readonly startedAt: string;
  readonly machine: Machine;
  readonly image: { readonly id: string; readonly kernelRelease: string };
}

/** What a run found; with the run, what is written into its file. */
export interface RoundsFound {
  readonly rounds: readonly RoundResult[];
  readonly goals: readonly Goal[];
  readonly getInstance: CallRate;
  readonly daemonResidentMib: number;
}

export interface CapturesFound {
  readonly captures: readonly CapturesResult[];
  readonly goals: readonly Goal[];
}

export interface MailboxesFound {
  readonly mailboxes: MailboxesResult;
  readonly goals: readonly Goal[];
}

export interface RestartsFound {
  readonly restarts: readonly RestartsResult[];
  readonly goals: readonly Goal[];
}

/** What a run finds, by its options. */
export type Found = RoundsFound | CapturesFound | MailboxesFound | RestartsFound;

/** The result as tables. */
export function report(result: BenchRun & Found): string {
  const { cpu, cores, kernel, driver, driverVersion, accelerator, acceleratorReason, networkMode } = result.machine;
  const why = acceleratorReason === '' ? '' : ` (${acceleratorReason})`;
  const parts = [
    `${cpu}, ${String(cores)} cores, Linux ${kernel}; ${driver} ${driverVersion} on ${accelerator}${why}; network ${networkMode}`,
  ];
  if ('captures' in result) parts.push(...result.captures.map(capturesReport));
  else if ('mailboxes' in result) parts.push(mailboxesReport(result.mailboxes));
  else if ('restarts' in result) parts.push(...result.restarts.map(restartsReport));
  else
    for (const round of result.rounds)
      parts.push(`${String(round.memoryMib)} MiB of guest memory, milliseconds\n${timesOf(round)}`);
  parts.push(table(['GOAL', 'MEMORY', 'WHAT', 'MEASURED', 'LIMIT', ''], result.goals.map(goalRow)));
  if ('getInstance' in result) {
    const { p50, p99, perSecond } = result.getInstance;
    parts.push(
      `GetInstance: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms, ${String(perSecond)} a second; daemon: ${String(result.daemonResidentMib)} MiB resident`,
    );
  }
  return parts.join('\n\n');
}

function timesOf({ fork, times, daemonCpuMsPerFork, loadAverage }: RoundResult): string {
  const rows = [
    ...FORK_PHASES.map((phase) => summaryRow(`fork: ${phase}`, fork[phase])),
    summaryRow("fork: host's share", fork.host),
    summaryRow('fork: the whole call', fork.call),
    summaryRow('boot', times.boot),
    summaryRow('standby, booted here', times.standbyBooted),
    summaryRow('standby, restored before', times.standbyRestored),
    summaryRow('  the whole call, guest warm', times.standbyRestoredCall),
    summaryRow('restore', times.restore),
    summaryRow('stock: boot', times.stockBoot),
    summaryRow('stock: stop + migrate', times.stockMigrate),
    summaryRow('stock: start + -incoming + cont', times.stockRestore),
    summaryRow('  start', times.stockSpawn),
    summaryRow('  -incoming', times.stockLoad),
    summaryRow('stock: cont to agent answer', times.stockAnswer),
  ];
  const { before, after } = loadAverage;
  return (
    `${table(['', 'N', 'P50', 'P95', 'MAX'], rows)}\n` +
    `daemon's processor time for a fork and its removal: ${daemonCpuMsPerFork.toFixed(0)} ms; load average ${String(before)} to ${String(after)}`
  );
}

function goalRow({ id, what, memoryMib, measured, unit, limit, met }: Goal): string[] {
  const bound = 'atMost' in limit ? `<= ${String(limit.atMost)}` : `>= ${String(limit.atLeast)}`;
  return [
    id,
    `${String(memoryMib)} MiB`,
    what,
    `${shortNumber(measured)} ${unit}`,
    `${bound} ${unit}`,
    met ? 'met' : 'missed',
  ];
}
