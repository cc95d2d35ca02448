import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SubjectCalls, scenariosOf } from './operation-scenarios.js';
import { OperationSubjects } from './operation-subjects.js';

/** Ways in which a caller ends its call, and what stands in the answer, for whoever still reads it. */
const ENDS = [
  { end: 'cancel', answer: { status: 'CANCELLED', details: { reason: 'CALL_CANCELLED' } } },
  { end: 'expire', answer: { status: 'DEADLINE_EXCEEDED', details: { reason: 'CALL_DEADLINE' } } },
] as const;

describe('a call that is cancelled or past its deadline after any step of its operation', () => {
  let subjects: OperationSubjects;
  const calls = new SubjectCalls(() => subjects.host);
  beforeAll(async () => {
    subjects = await OperationSubjects.start();
  });
  // What one scenario left when it failed is no failure of the next.
  afterEach(() => subjects.removeAll());
  afterAll(() => subjects[Symbol.asyncDispose]());

  it.each(scenariosOf(calls))(
    'is undone whole, or carried out whole: $title',
    { timeout: 300_000 },
    async (scenario) => {
      const { operation, prepare, act, undone, finished, tidy, standsFrom = 'record', partOfCall } = scenario;
      const steps = await subjects.stepsOf(scenario);
      const firstThatStands = steps.indexOf(standsFrom);
      /** One that was undone is what it was: it does for the next step, too. */
      let subject: string | undefined;
      for (const [index, step] of steps.entries()) {
        const { end, answer } = ENDS[index % ENDS.length]!;
        const name: string = subject ?? subjects.fresh();
        if (subject === undefined) await prepare(name);
        const vmmPid = await subjects.pidOf(name);
        const failure = await subjects.cut.endAfter(`${operation}: ${step}`, end, () => act(name));
        await subjects.assertNothingLeaked();
        const stands = firstThatStands >= 0 && index >= firstThatStands;
        const answered = stands && partOfCall === undefined ? undefined : answer;
        const state = stands ? finished : undone;
        const outcome = { step, state: await subjects.stateOf(name), failure };
        expect(outcome).toMatchObject({ step, state, failure: answered });
        expect(await subjects.namesLike(name)).toEqual(state === 'gone' ? [] : [name]);
        await tidy?.(name, stands ? 'finished' : 'undone');
        // What it was made with, `tidy` has removed.
        const asItWas = !stands && undone !== 'gone' && tidy === undefined && (await subjects.pidOf(name)) === vmmPid;
        subject = asItWas && index < steps.length - 1 ? name : undefined;
        if (subject !== undefined) continue;
        if (state !== 'gone') await subjects.assertUsable(name, state);
        await subjects.removeAll(name);
      }
      await subjects.assertAlone();
    },
  );
});
