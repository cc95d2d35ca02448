import { expect, it } from 'vitest';
import { deliver } from '../bare-guest/guest-control.js';
import { targetIn } from '../bare-guest/capture-files.js';
import { forEachDriver, type Base, type ConformanceLab } from './conformance-lab.js';

/** In a test run a few show that the phases are all there; `OFFSHOOT_PHASES=50` is a measurement. */
const FORKS = Number(process.env.OFFSHOOT_PHASES ?? '3');
const MEMORY_MIB = 512;

/** Milliseconds of one fork, and of one capture of it while it runs. */
interface Phases {
  readonly spawn: number;
  readonly load: number;
  readonly patch: number;
  readonly resume: number;
  /** From the request to the driver until the guest runs with its payload. */
  readonly whole: number;
  readonly capturePause: number;
}

/** Where the host's part of a fork goes, with a guest that takes no time: docs/performance.md. */
await forEachDriver('the phases of a fork', (lab) => {
  it(
    'are told, and add up',
    async () => {
      const base = await lab().base('source', MEMORY_MIB);
      const rounds: Phases[] = [];
      for (let i = 0; i < FORKS; i++) rounds.push(await oneFork(lab(), base));
      for (const { spawn, load, patch, resume, whole } of rounds)
        expect(spawn + load + patch + resume).toBeLessThanOrEqual(whole);
      const told = (Object.keys(rounds[0]!) as (keyof Phases)[])
        .map((phase) => `${phase} ${spread(rounds.map((round) => round[phase]))}`)
        .join(', ');
      console.log(`${lab().subject.name}, ${String(FORKS)} forks, p50/p95 ms: ${told}`);
    },
    FORKS * 60_000,
  );
});

async function oneFork(lab: ConformanceLab, base: Base): Promise<Phases> {
  const spec = await lab.forkSpec('fork', base);
  const started = performance.now();
  const { vm, timings } = await lab.driver.restore(spec);
  try {
    const restored = performance.now();
    {
      await using memory = await vm.openMemory();
      await deliver(memory, 'go');
    }
    const patched = performance.now();
    await vm.resume();
    const resumed = performance.now();
    const { pauseMs } = (await vm.snapshot(targetIn(spec))).capture;
    return {
      spawn: timings.spawnMs,
      load: timings.loadMs,
      patch: patched - restored,
      resume: resumed - patched,
      whole: resumed - started,
      capturePause: pauseMs,
    };
  } finally {
    await vm.kill();
  }
}

function spread(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN).toFixed(1);
  return `${at(0.5)}/${at(0.95)}`;
}
