import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { TestHost } from '../harness/test-host.js';
import {
  CreateSnapshotStep,
  DeleteSnapshotStep,
  DeleteStep,
  ForkSnapshotStep,
  ForkStep,
  KillDaemonStep,
  KillVmmStep,
  RestoreSnapshotStep,
  SimpleStep,
} from './commands.js';
import { HostModel, type SimpleCall } from './host-model.js';

/** Sequences are made until this time is over, in milliseconds. */
const TIME_MS = Number(process.env.OFFSHOOT_MODEL_SECONDS ?? 40) * 1000;
const MOST_STEPS = 14;

const which = fc.nat(11);
const target = fc.constantFrom(undefined, undefined, 'RUNNING', 'STANDBY', 'STOPPED');
const simple = (...calls: SimpleCall[]): fc.Arbitrary<SimpleStep> =>
  fc.tuple(fc.constantFrom(...calls), which).map(([call, n]) => new SimpleStep(call, n));

// What stands twice comes twice as often; a start boots for seconds.
const cheap = simple('pause', 'resume', 'standby', 'restore');
const commands = [
  cheap,
  cheap,
  cheap,
  simple('stop', 'standby', 'start'),
  fc.tuple(which, fc.boolean(), target, fc.constantFrom(1, 1, 2)).map((args) => new ForkStep(...args)),
  fc.tuple(which, target).map((args) => new ForkSnapshotStep(...args)),
  fc.tuple(which, target).map((args) => new ForkSnapshotStep(...args)),
  which.map((n) => new CreateSnapshotStep(n)),
  which.map((n) => new RestoreSnapshotStep(n)),
  which.map((n) => new DeleteSnapshotStep(n)),
  fc.tuple(which, fc.boolean()).map((args) => new DeleteStep(...args)),
  which.map((n) => new KillVmmStep(n)),
  fc.constant(new KillDaemonStep()),
];

describe('a host', () => {
  let host: TestHost;
  let snapshots: SnapshotCalls;
  beforeAll(async () => {
    host = await TestHost.start();
    snapshots = new SnapshotCalls(host);
    await host.boot('seed', 'counter.cjs');
    await snapshots.create({ instance: 'seed', name: 'start' });
    await host.delete('seed');
  });
  afterAll(async () => {
    await snapshots.deleteAll();
    await host[Symbol.asyncDispose]();
  });

  /** Each sequence begins with one snapshot, whose source is gone, and an instance of it. */
  async function begin(): Promise<{ model: HostModel; real: { host: TestHost; snapshots: SnapshotCalls } }> {
    for (const { id } of await host.list()) await host.delete(id);
    for (const { name, id } of await snapshots.list()) if (name !== 'start') await snapshots.delete(id);
    const model = new HostModel();
    model.snapshots.set('start', { source: 'seed', memory: true });
    const real = { host, snapshots };
    await new ForkSnapshotStep(0, undefined).run(model, real);
    return { model, real };
  }

  it(
    'does after any sequence of calls, deaths and restarts have the states, names and files of the model',
    async () => {
      const sequences = fc.asyncProperty(
        fc.commands(commands, { maxCommands: MOST_STEPS, size: 'max' }),
        async (steps) => {
          const { model, real } = await begin();
          await fc.asyncModelRun(() => ({ model, real }), steps);
        },
      );
      const until = performance.now() + TIME_MS;
      // Each try is a matter of seconds, so a failure is shown as it was found, with the seed that makes it again.
      do await fc.assert(sequences, { numRuns: 1, endOnFailure: true });
      while (performance.now() < until);
    },
    TIME_MS + 300_000,
  );
});
