import { OPERATION_STEPS } from '@offshoot/host-agent/domain/operations.js';
import { InstanceState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CutShortHost, type CutShort } from '../harness/cut-short-host.js';
import type { TestHost } from '../harness/test-host.js';
import { SubjectCalls, scenariosOf, type Kept, type Scenario } from './kill-scenarios.js';

const S = InstanceState;
const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);
const patient = { networkTimeout: { seconds: 30n, nanos: 0 } };

describe('a daemon killed after any step of any operation', () => {
  let cut: CutShortHost;
  let host: TestHost;
  let bystander: Instance;
  let subjects = 0;
  const taken = new Set<string>();
  const calls = new SubjectCalls(() => host);

  const subject = (): string => `subject-${String(++subjects)}`;
  beforeAll(async () => {
    cut = await CutShortHost.start();
    host = cut.host;
    await calls.create('parked');
    await host.logLine('parked', (line) => countOf(line) > 2);
    await host.standby('parked');
    await host.fork({ source: 'parked', name: 'disk', targetState: S.INSTANCE_STATE_STOPPED });
    bystander = (await calls.fork('bystander')).instance!;
  });
  afterAll(() => cut[Symbol.asyncDispose]());

  /** The numbers the instance has said: none is missing, none is said twice, but where it was booted anew. Gives the last. */
  const counted = async (name: string, until: (count: number) => boolean): Promise<number> => {
    let last: number | undefined;
    for await (const line of host.logLines(name)) {
      const count = countOf(line);
      if (Number.isNaN(count)) continue;
      if (last !== undefined && count !== 1) expect(count, name).toBe(last + 1);
      last = count;
      if (until(count)) return count;
    }
    throw new Error(`the log of ${name} ended`);
  };

  const goesOn = async (name: string): Promise<void> => {
    const bytes = await host.logBytes(name);
    let seen = 0;
    await counted(name, (count) => (seen += `count ${String(count)}\n`.length) > bytes);
  };

  /** Whatever it is now, it can be used as such. */
  const usable = async (name: string, state: InstanceState): Promise<void> => {
    const { id } = (await host.get(name)).instance!;
    expect(InstanceState[state]).toContain(cut.recordedState(id));
    if (state === S.INSTANCE_STATE_STOPPED) {
      for (const file of ['memory', 'device-state']) expect(cut.hasFile(id, file), file).toBe(false);
      await calls.fork(`${name}-disk`, { source: name });
      await host.delete(`${name}-disk`);
      return;
    }
    if (state === S.INSTANCE_STATE_STANDBY) await host.restore(name);
    if (state === S.INSTANCE_STATE_PAUSED) await host.resume(name);
    await goesOn(name);
  };

  const standing = async (): Promise<Instance[]> => [...(await host.list())];
  const live = (instances: readonly Instance[]): number => instances.filter(({ vmmPid }) => vmmPid !== 0).length;

  const nothingLeaked = async (): Promise<void> => {
    expect(cut.leftovers()).toEqual([]);
    const instances = await standing();
    const processes = live(instances);
    const taps = host.machine.namespace === undefined ? 0 : processes;
    expect(host.machine.traces()).toEqual({ folders: instances.length, processes, taps });
    expect(host.machine.captures()).toBe(0);
    expect(host.machine.snapshots()).toBe((await calls.snapshots.list()).length);
    const { vmmPid, state } = instances.find(({ id }) => id === bystander.id)!;
    expect({ vmmPid, state }).toEqual({ vmmPid: bystander.vmmPid, state: S.INSTANCE_STATE_RUNNING });
  };

  const pidOf = async (name: string): Promise<number | undefined> =>
    (await standing()).find((instance) => instance.name === name)?.vmmPid;

  const stateOf = async (name: string): Promise<Kept> =>
    (await standing()).find((instance) => instance.name === name)?.state ?? 'gone';

  /** The operation's steps, as it takes them when nobody cuts it short. */
  const traced = async ({ operation, prepare, act }: Scenario): Promise<readonly string[]> => {
    const name = subject();
    await prepare(name);
    const trace = await cut.stepsOf(() => act(name));
    for (const step of trace) taken.add(step);
    for (const each of await standing()) if (each.name.startsWith(name)) await host.delete(each.name);
    await calls.removeSnapshots(name);
    return trace.filter((step) => step.startsWith(`${operation}: `)).map((step) => step.split(': ')[1]!);
  };

  it.each(scenariosOf(calls))(
    'finishes or undoes it at the next start: $title',
    { timeout: 900_000 },
    async (scenario) => {
      const { operation, prepare, act, only } = scenario;
      const steps = only ?? (await traced(scenario));
      /** A subject that an operation left just as it was does for the next step, too. */
      let again: string | undefined;
      for (const step of steps) {
        const name = again ?? subject();
        if (again === undefined) await prepare(name);
        const vmmPid = await pidOf(name);
        const found = await cut.killAfter(`${operation}: ${step}`, () => act(name));
        expect(found, step).toMatchObject([{ operation, step }] satisfies Partial<CutShort>[]);
        taken.add(`${operation}: ${step}`);
        const state = await stateOf(name);
        expect(state, `${step}: ${found[0]!.outcome}`).toBe(scenario[found[0]!.outcome]);
        await nothingLeaked();
        await scenario.tidy?.(name, found[0]!.outcome);
        if (scenario.title === 'create' && found[0]!.outcome === 'finished')
          expect((await calls.create(name)).id).toBe((await host.get(name)).instance!.id);
        if (state !== 'gone') {
          await usable(name, state);
          again = scenario.reuse === true && (await pidOf(name)) === vmmPid ? name : undefined;
          if (again === undefined) {
            // Its memory is what its hypervisor maps: else it could not be captured.
            if (state !== S.INSTANCE_STATE_STOPPED) await host.standby(name);
            await host.delete(name);
          }
        }
      }
      if (again !== undefined) await host.delete(again);
      expect(await host.list()).toHaveLength(3);
      await goesOn('bystander');
    },
  );

  it(
    'undoes all forks of a call that was to have all or none, the finished ones too',
    { timeout: 900_000 },
    async () => {
      const name = subject();
      const all = () => host.forkMany({ fork: { ...patient, source: 'parked', name }, count: 3, allOrNothing: true });
      for (const [step, times] of [
        ['fork-all: begun', 1],
        ['fork-memory: record', 2],
        ['fork-memory: record', 3],
      ] as const) {
        const found = await cut.killAfter(step, all, times);
        taken.add('fork-all: begun');
        expect(found.map(({ outcome }) => outcome)).toEqual(found.map(() => 'undone'));
        expect(found[0]).toMatchObject({ operation: 'fork-all' });
        expect(await host.list()).toHaveLength(3);
        await nothingLeaked();
      }
      await goesOn('bystander');
    },
  );

  it('leaves no step out', () => {
    const all = Object.entries(OPERATION_STEPS).flatMap(([operation, steps]) =>
      steps.map((step) => `${operation}: ${step}`),
    );
    expect([...taken].sort()).toEqual(all.sort());
  });
});
