import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DaemonClient } from '../cli/daemon-client.js';
import { processorMs } from './daemon-cost.js';
import { loadAverage } from './machine.js';
import { OurInstances, type ForkTime } from './our-instances.js';
import { Series, type Summary } from './statistics.js';
import { StockQemu, type StockMachine } from './stock-qemu.js';

/** Forks, restores and captures before the first that counts. */
const WARM_UP = 2;
/** Cold boots, and so captures of a VM that was booted here. */
const BOOTS = 3;

/** What is timed beside forks. Ours: from the daemon. Peer: from outside, commands and events of QMP. */
type Time =
  | 'boot'
  /** Of a VM booted here, which writes its memory file itself. */
  | 'standbyBooted'
  /** Of a VM restored before, whose private pages are added to a copy of its base made before the pause. */
  | 'standbyRestored'
  | 'standbyRestoredCall'
  | 'restore'
  | 'stockBoot'
  | 'stockMigrate'
  /** From the start of the process to the running guest, and its parts. */
  | 'stockRestore'
  | 'stockSpawn'
  | 'stockLoad'
  /** From there to the agent's answer over its channel. */
  | 'stockAnswer';

/** Everything measured with one size of guest memory. */
export interface RoundResult {
  readonly memoryMib: number;
  readonly fork: Partial<Record<ForkTime, Summary>>;
  readonly times: Partial<Record<Time, Summary>>;
  /** The daemon's own processor time for one fork and its removal. */
  readonly daemonCpuMsPerFork: number;
  readonly loadAverage: { readonly before: number; readonly after: number };
}

export interface RoundOptions {
  readonly client: DaemonClient;
  readonly daemonPid: number;
  readonly forks: number;
  readonly peer: Omit<StockMachine, 'directory'>;
  /** Where the peer's folder is made: on the same disk as the daemon's. */
  readonly scratch: string;
  readonly onStep: (step: string) => void;
  readonly signal: AbortSignal;
}

/** One size of memory: boots, then forks, stock saves, stock restores and our own captures in turn. */
export async function measureRound(options: RoundOptions): Promise<RoundResult> {
  const { client, daemonPid, forks, peer, onStep, signal } = options;
  const { memoryMib } = peer;
  const ours = new OurInstances(client);
  const fork = new Series<ForkTime>();
  const times = new Series<Time>();
  const before = loadAverage();
  const name = (what: string): string => `${what}-${String(memoryMib)}`;
  const [source, cycled] = [name('source'), name('cycled')];

  onStep(`${String(memoryMib)} MiB: boot`);
  const names = [...Array.from({ length: BOOTS - 2 }, (_, i) => name(`boot-${String(i)}`)), cycled, source];
  for (const each of names) {
    times.add('boot', await ours.boot(each, memoryMib));
    times.add('standbyBooted', (await ours.standby(each)).capture);
    if (each !== source && each !== cycled) await ours.remove(each);
  }
  const machine = { ...peer, directory: await mkdtemp(join(options.scratch, 'stock-')) };
  try {
    const bootStarted = performance.now();
    await using stock = await StockQemu.boot(machine, signal);
    times.add('stockBoot', performance.now() - bootStarted);

    let forkCpuMs = 0;
    for (let i = -WARM_UP; i < forks; i++) {
      const counts = i >= 0;
      onStep(`${String(memoryMib)} MiB: ${counts ? `${String(i + 1)} of ${String(forks)}` : 'warm-up'}`);
      const cpuBefore = processorMs(daemonPid);
      const forked = await ours.fork(source, name('fork'));
      await ours.remove(name('fork'));
      if (counts) forkCpuMs += processorMs(daemonPid) - cpuBefore;

      const migrateMs = await stock.save();
      const restored = await restoreStock(machine, signal);
      await stock.run(signal);

      const restoreMs = await ours.restore(cycled);
      const standby = await ours.standby(cycled);
      if (!counts) continue;
      for (const [phase, ms] of Object.entries(forked)) fork.add(phase as ForkTime, ms);
      times.add('standbyRestored', standby.capture);
      times.add('standbyRestoredCall', standby.call);
      times.add('restore', restoreMs);
      times.add('stockMigrate', migrateMs);
      times.add('stockRestore', restored.spawnMs + restored.loadMs + restored.resumeMs);
      times.add('stockSpawn', restored.spawnMs);
      times.add('stockLoad', restored.loadMs);
      times.add('stockAnswer', restored.answerMs);
    }
    return {
      memoryMib,
      fork: fork.summaries(),
      times: times.summaries(),
      daemonCpuMsPerFork: forkCpuMs / forks,
      loadAverage: { before, after: loadAverage() },
    };
  } finally {
    await rm(machine.directory, { recursive: true, force: true });
    await Promise.all([source, cycled].map((each) => ours.remove(each)));
  }
}

/** Restores the peer's file into a process of its own, which ends with this. */
async function restoreStock(
  machine: StockMachine,
  signal: AbortSignal,
): Promise<Record<'spawnMs' | 'loadMs' | 'resumeMs' | 'answerMs', number>> {
  const { vm, ...restored } = await StockQemu.restore(machine, signal);
  await vm[Symbol.asyncDispose]();
  return restored;
}
