import { InvalidState } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { ALLOWED_STATES, TRANSITIONS, assertAllowed, type InstanceCall, type InstanceState } from './instance-state.js';

const STATES: readonly InstanceState[] = ['CREATING', 'RUNNING', 'PAUSED', 'STANDBY', 'STOPPED', 'FAILED'];

/** The specification once more, as what each call may be answered in each state. */
const EXPECTED: Readonly<Record<InstanceCall, string>> = {
  //           CREATING RUNNING PAUSED STANDBY STOPPED FAILED
  start: '      -        -       -      -       yes     yes',
  pause: '      -        yes     -      -       -       -',
  resume: '     -        -       yes    -       -       -',
  standby: '    -        yes     yes    -       -       -',
  restore: '    -        -       -      yes     -       -',
  fork: '       -        -       -      yes     yes     -',
  forkRunning: '-        yes     yes    yes     yes     -',
  snapshot: '   -        yes     yes    yes     yes     -',
  setBack: '    -        yes     yes    yes     yes     yes',
  stop: '       -        yes     yes    yes     -       yes',
  delete: '     -        -       -      yes     yes     yes',
  forceDelete: '-        yes     yes    yes     yes     yes',
};

describe.each(Object.entries(EXPECTED))('%s', (call, row) => {
  const answers = row.trim().split(/ +/);
  it.each(STATES.map((state, i) => [state, answers[i]!] as const))('of an instance that is %s: %s', (state, answer) => {
    const ask = (): void => {
      assertAllowed(call as InstanceCall, 'vm', state);
    };
    if (answer === 'yes') expect(ask).not.toThrow();
    else {
      expect(ask).toThrow(InvalidState);
      expect(ask).toThrow(ALLOWED_STATES[call as InstanceCall].hint);
    }
  });
});

it('no state leads back to CREATING, and a parked instance does not fail by itself', () => {
  expect(Object.values(TRANSITIONS).flat()).not.toContain('CREATING');
  expect(TRANSITIONS.STANDBY).not.toContain('FAILED');
});
