import { OPERATION_STEPS } from '@offshoot/host-agent/domain/operations.js';
import { InstanceState as S } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CutShort } from '../harness/cut-short-host.js';
import { SubjectCalls, scenariosOf } from './operation-scenarios.js';
import { OperationSubjects } from './operation-subjects.js';

describe('a daemon killed after any step of any operation', () => {
  let subjects: OperationSubjects;
  const calls = new SubjectCalls(() => subjects.host);
  const taken = new Set<string>();
  beforeAll(async () => {
    subjects = await OperationSubjects.start();
  });
  // What one scenario left when it failed is no failure of the next.
  afterEach(() => subjects.removeAll());
  afterAll(() => subjects[Symbol.asyncDispose]());

  it.each(scenariosOf(calls))(
    'finishes or undoes it at the next start: $title',
    { timeout: 900_000 },
    async (scenario) => {
      const { cut, host } = subjects;
      const { operation, prepare, act } = scenario;
      const steps = await subjects.stepsOf(scenario, (step) => taken.add(step));
      /** A subject that an operation left just as it was does for the next step, too. */
      let again: string | undefined;
      for (const step of steps) {
        const name = again ?? subjects.fresh();
        if (again === undefined) await prepare(name);
        const vmmPid = await subjects.pidOf(name);
        const found = await cut.killAfter(`${operation}: ${step}`, () => act(name));
        expect(found, step).toMatchObject([{ operation, step }] satisfies Partial<CutShort>[]);
        taken.add(`${operation}: ${step}`);
        const { outcome } = found[0]!;
        const state = await subjects.stateOf(name);
        expect(state, `${step}: ${outcome}`).toBe(scenario[outcome]);
        await subjects.assertNothingLeaked();
        await scenario.tidy?.(name, outcome);
        if (scenario.title === 'create' && outcome === 'finished')
          expect((await calls.create(name)).id).toBe((await host.get(name)).instance!.id);
        if (state === 'gone') continue;
        await subjects.assertUsable(name, state);
        again = scenario.reuse === true && (await subjects.pidOf(name)) === vmmPid ? name : undefined;
        if (again !== undefined) continue;
        // Its memory is what its hypervisor maps: else it could not be captured.
        if (state !== S.INSTANCE_STATE_STOPPED) await host.standby(name);
        await host.delete(name);
      }
      if (again !== undefined) await host.delete(again);
      await subjects.assertAlone();
    },
  );

  it(
    'undoes all forks of a call that was to have all or none, the finished ones too',
    { timeout: 900_000 },
    async () => {
      const { cut, host } = subjects;
      const name = subjects.fresh();
      const all = () => host.forkMany({ fork: { source: 'parked', name }, count: 3, allOrNothing: true });
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
        await subjects.assertNothingLeaked();
      }
      await subjects.assertAlone();
    },
  );

  it('leaves no step out', () => {
    const all = Object.entries(OPERATION_STEPS).flatMap(([operation, steps]) =>
      steps.map((step) => `${operation}: ${step}`),
    );
    expect([...taken].sort()).toEqual(all.sort());
  });
});
