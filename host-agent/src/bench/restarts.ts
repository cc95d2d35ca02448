import { table } from '../cli/tables.js';
import type { BenchDaemon } from './bench-daemon.js';
import { goalOf, type Goal } from './goals.js';
import { loadAverage } from './machine.js';
import { OurInstances } from './our-instances.js';
import { summarize, type Summary } from './statistics.js';
import { summaryRow } from './summary-row.js';

/** Restarts of each kind that count; one more comes before. */
const RESTARTS = 10;
/** What the daemon logs when it has told all guests that it is there. */
const GREETED = 'greeted the guests';

/** Times from the start of the new daemon, in milliseconds. */
export interface RestartsResult {
  readonly memoryMib: number;
  /** VMs that ran in the second kind. */
  readonly vms: number;
  /** Until it serves, with the source parked and nothing else. */
  readonly readyAlone: Summary;
  /** Until it serves, all VMs taken over. */
  readonly ready: Summary;
  /** Until the last guest has heard of it. */
  readonly greeted: Summary;
  readonly loadAverage: { readonly before: number; readonly after: number };
}

interface Measured {
  readonly bench: BenchDaemon;
  readonly forks: number;
  readonly memoryMib: number;
  readonly onStep: (step: string) => void;
}

/** Restarts after `kill -9`, first without a VM that runs, then with that many forks of one; all are removed afterwards. */
export async function measureRestarts({ bench, forks, memoryMib, onStep }: Measured): Promise<RestartsResult> {
  const before = loadAverage();
  const ours = new OurInstances(bench.client);
  const source = `source-${String(memoryMib)}`;
  await ours.boot(source, memoryMib);
  await ours.standby(source);
  const readyAlone = await restarts(bench, (n) => {
    onStep(`${String(memoryMib)} MiB: restart ${String(n)} with nothing that runs`);
  });
  const names = Array.from({ length: forks }, (_, i) => `${source}-${String(i)}`);
  for (const name of names) {
    onStep(`${String(memoryMib)} MiB: fork ${name}`);
    await ours.fork(source, name);
  }
  const greeted: number[] = [];
  const ready = await restarts(
    bench,
    (n) => {
      onStep(`${String(memoryMib)} MiB: restart ${String(n)} with ${String(forks)} VMs`);
    },
    greeted,
  );
  for (const name of [...names, source]) await ours.remove(name);
  const loads = { before, after: loadAverage() };
  return {
    memoryMib,
    vms: forks,
    readyAlone: summarize(readyAlone),
    ready: summarize(ready),
    greeted: summarize(greeted),
    loadAverage: loads,
  };
}

/** @param greeted filled with when all guests had heard of each daemon; left out, none runs */
async function restarts(bench: BenchDaemon, onStep: (n: number) => void, greeted?: number[]): Promise<number[]> {
  const ready: number[] = [];
  for (let n = 0; n <= RESTARTS; n++) {
    onStep(n);
    const started = performance.now();
    const daemon = await bench.restart();
    const served = performance.now() - started;
    // The next one finds guests that sleep.
    if (greeted !== undefined) await daemon.logged(GREETED);
    if (n === 0) continue;
    ready.push(served);
    greeted?.push(performance.now() - started);
  }
  return ready;
}

/** The goal is for this many VMs: fewer cannot meet it. */
const GOAL_VMS = 100;

/** None for runs with fewer VMs than the goal is for. */
export const judgeRestarts = (results: readonly Pick<RestartsResult, 'memoryMib' | 'vms' | 'ready'>[]): Goal[] =>
  results
    .filter(({ vms }) => vms >= GOAL_VMS)
    .map(({ memoryMib, vms, ready }) =>
      goalOf(memoryMib)('P12', `restart with ${String(vms)} VMs`, ready.p50, 'ms', { atMost: 1000 }),
    );

export function restartsReport({
  memoryMib,
  vms,
  readyAlone,
  ready,
  greeted,
  loadAverage: load,
}: RestartsResult): string {
  return [
    table(
      [`${String(memoryMib)} MiB, milliseconds from the daemon's start`, 'N', 'P50', 'P95', 'MAX'],
      [
        summaryRow('serves: no VM runs', readyAlone),
        summaryRow(`serves: ${String(vms)} VMs taken over`, ready),
        summaryRow(`  all ${String(vms)} guests have heard of it`, greeted),
      ],
    ),
    `load average ${String(load.before)} to ${String(load.after)}`,
  ].join('\n');
}
