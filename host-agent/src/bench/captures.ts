import type { DaemonClient } from '../cli/daemon-client.js';
import { goalOf, type Goal } from './goals.js';
import { loadAverage } from './machine.js';
import { OurInstances, type ForkTime } from './our-instances.js';
import { privateMemoryMib } from './private-memory.js';
import { Series, summarize, type Summary } from './statistics.js';

/**
 * What the workloads of the sources write over and over, in MiB. The guest itself changes 4 MiB when it wakes and 6 between
 * its boot and the captures: together the least there is, some 8 MiB, which the goal is for, and some 64.
 */
const WRITTEN_MIB = [0, 3, 58] as const;
const GOALS_UP_TO_MIB = 3;
/** Captures of one source after its first. */
const LATER_CAPTURES = 3;
const DEPTHS = [1, 5] as const;
const WARM_UP = 2;

/** Captures after the first of sources that write so much. */
export interface LaterCaptures {
  readonly writtenMib: number;
  /** What the source had changed since its base, in MiB, right before each capture. */
  readonly dirtyMib: Summary;
  /** How long the source stood still, in milliseconds. */
  readonly pause: Summary;
  /** Parking it in the end, in milliseconds: capture_time. */
  readonly standby: Summary;
}

export interface ForksAtDepth {
  /** 1 for a fork of a VM that was booted here. */
  readonly depth: number;
  readonly times: Partial<Record<ForkTime, Summary>>;
}

/** Captures and generations with one size of guest memory. */
export interface CapturesResult {
  readonly memoryMib: number;
  /** How long a VM booted here stood still for its first capture, which moves it to another VMM, in milliseconds. */
  readonly firstPause: Summary;
  readonly later: readonly LaterCaptures[];
  /** Parking a VM booted here that was never captured, in milliseconds: capture_time. */
  readonly standbyBooted: Summary;
  readonly forks: readonly ForksAtDepth[];
  readonly loadAverage: { readonly before: number; readonly after: number };
}

export interface CapturesOptions {
  readonly client: DaemonClient;
  /** Forks at each depth, and about as many captures of each kind. */
  readonly forks: number;
  readonly memoryMib: number;
  readonly onStep: (step: string) => void;
}

export async function measureCaptures(options: CapturesOptions): Promise<CapturesResult> {
  const { memoryMib } = options;
  const before = loadAverage();
  const first: number[] = [];
  const later: LaterCaptures[] = [];
  for (const writtenMib of WRITTEN_MIB) later.push(await capturesOf(writtenMib, first, options));
  const { standbyBooted, forks } = await forksByDepth(options);
  return {
    memoryMib,
    firstPause: summarize(first),
    later,
    standbyBooted,
    forks,
    loadAverage: { before, after: loadAverage() },
  };
}

/** Sources of one kind, each booted for its first capture, which goes to `first`, and captured some times more. */
async function capturesOf(
  writtenMib: number,
  first: number[],
  { client, forks, memoryMib, onStep }: CapturesOptions,
): Promise<LaterCaptures> {
  const ours = new OurInstances(client);
  const [dirty, pause, standby]: [number[], number[], number[]] = [[], [], []];
  const [source, fork] = ['captured', 'of-captured'];
  const boots = Math.ceil(forks / LATER_CAPTURES);
  for (let boot = 1; boot <= boots; boot++) {
    onStep(
      `${String(memoryMib)} MiB: captures with ${String(writtenMib)} MiB written: ${String(boot)} of ${String(boots)}`,
    );
    await ours.boot(source, memoryMib, { dirtyMib: writtenMib });
    if (writtenMib > 0) await ours.written(source);
    first.push(await ours.capture(source, fork));
    for (let i = 0; i < LATER_CAPTURES; i++) {
      if (writtenMib > 0) await ours.written(source);
      else await renewBase(ours, source);
      dirty.push(privateMemoryMib((await ours.get(source)).vmmPid));
      pause.push(await ours.capture(source, fork));
    }
    standby.push((await ours.standby(source)).capture);
    await ours.remove(source);
  }
  return { writtenMib, dirtyMib: summarize(dirty), pause: summarize(pause), standby: summarize(standby) };
}

/** Leaves a VM as little changed since its base as one that just woke can be: parked into a file of its own, and restored. */
async function renewBase(ours: OurInstances, instance: string): Promise<void> {
  await ours.standby(instance);
  await ours.restore(instance);
}

/** Forks of parked VMs of different generations in turn. */
async function forksByDepth({ client, forks, memoryMib, onStep }: CapturesOptions): Promise<{
  standbyBooted: Summary;
  forks: ForksAtDepth[];
}> {
  const ours = new OurInstances(client);
  const generation = (depth: number): string => `generation-${String(depth)}`;
  onStep(`${String(memoryMib)} MiB: generations`);
  await ours.boot(generation(0), memoryMib);
  const standbyBooted = summarize([(await ours.standby(generation(0))).capture]);
  const deepest = Math.max(...DEPTHS) - 1;
  for (let depth = 1; depth <= deepest; depth++) {
    await ours.fork(generation(depth - 1), generation(depth));
    await ours.standby(generation(depth));
  }
  const series = new Map(DEPTHS.map((depth) => [depth, new Series<ForkTime>()]));
  for (let i = -WARM_UP; i < forks; i++)
    for (const [depth, times] of series) {
      onStep(`${String(memoryMib)} MiB: forks at depth ${String(depth)}: ${i < 0 ? 'warm-up' : String(i + 1)}`);
      const forked = await ours.fork(generation(depth - 1), 'fork');
      await ours.remove('fork');
      if (i >= 0) for (const [phase, ms] of Object.entries(forked)) times.add(phase as ForkTime, ms);
    }
  for (let depth = 0; depth <= deepest; depth++) await ours.remove(generation(depth));
  return { standbyBooted, forks: Array.from(series, ([depth, times]) => ({ depth, times: times.summaries() })) };
}

/** The goals of the specification that these figures tell of. */
export function judgeCaptures(results: readonly CapturesResult[]): Goal[] {
  return results.flatMap(({ memoryMib, firstPause, later }) => {
    const goal = goalOf(memoryMib);
    return [
      goal('P1b', 'source pause, first capture', firstPause.p50, 'ms', { atMost: 40 }),
      ...later
        .filter(({ writtenMib }) => writtenMib <= GOALS_UP_TO_MIB)
        .map(({ dirtyMib, pause }) =>
          goal('P1b', `source pause, ${dirtyMib.p50.toFixed(1)} MiB changed`, pause.p50, 'ms', { atMost: 15 }),
        ),
    ];
  });
}
