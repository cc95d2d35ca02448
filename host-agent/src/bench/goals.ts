import type { RoundResult } from './round.js';

/** One goal of the specification's performance table, against what was measured. Times in milliseconds. */
export interface Goal {
  readonly id: string;
  readonly what: string;
  readonly memoryMib: number;
  readonly measured: number;
  readonly unit: 'ms' | 'x' | 'GB/s';
  /** The measured value may be at most, or has to be at least, this. */
  readonly limit: { readonly atMost: number } | { readonly atLeast: number };
  readonly met: boolean;
}

/** Forks of this bench come from no pool: the goals for those. */
const ACK_GOAL_MS: Readonly<Record<string, number>> = { tcg: 300, kvm: 40 };

/** The goals as far as these rounds, ascending by memory, can tell. */
export function judge(rounds: readonly RoundResult[], accelerator: string): Goal[] {
  const goals = rounds.flatMap(({ memoryMib, fork, times }) => {
    const goal = goalOf(memoryMib);
    const capture = times.standbyBooted?.p50;
    const host = fork.host?.p50;
    return [
      goal('P1', 'standby, VM booted here', capture, 'ms', { atMost: 12 }),
      goal('P1', 'standby, VM restored before', times.standbyRestored?.p50, 'ms', { atMost: 12 }),
      goal('P1', 'stock migrate / standby', ratio(times.stockMigrate?.p50, capture), 'x', { atLeast: 15 }),
      goal('P2', 'fork, host share', host, 'ms', { atMost: 65 }),
      goal('P2', 'stock restore / fork, host share', ratio(times.stockRestore?.p50, host), 'x', { atLeast: 6 }),
      goal('P4', 'fork, request to last ack', fork.total?.p50, 'ms', { atMost: ACK_GOAL_MS[accelerator] ?? 300 }),
    ];
  });
  const [smallest, largest] = [rounds[0], rounds.at(-1)];
  if (smallest !== undefined && largest !== undefined && largest !== smallest) {
    const what = `fork, host share / that with ${String(smallest.memoryMib)} MiB`;
    const growth = ratio(largest.fork.host?.p50, smallest.fork.host?.p50);
    goals.push(goalOf(largest.memoryMib)('P5', what, growth, 'x', { atMost: 1.1 }));
  }
  return goals.filter(({ measured }) => !Number.isNaN(measured));
}

const ratio = (a = Number.NaN, b = Number.NaN): number => a / b;

export const goalOf =
  (memoryMib: number) =>
  (id: string, what: string, measured = Number.NaN, unit: Goal['unit'], limit: Goal['limit']): Goal => ({
    id,
    what,
    memoryMib,
    measured,
    unit,
    limit,
    met: 'atMost' in limit ? measured <= limit.atMost : measured >= limit.atLeast,
  });
