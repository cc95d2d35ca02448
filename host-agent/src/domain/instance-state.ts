import { InvalidState } from '@offshoot/shared/errors.js';

export type InstanceState = 'CREATING' | 'RUNNING' | 'STANDBY' | 'STOPPED' | 'FAILED';

/** Calls that ask for a state. */
export type InstanceCall = 'standby' | 'restore' | 'fork' | 'stop' | 'delete' | 'forceDelete';

/** For each call: the states it is allowed in, and what to do instead where it is not. */
export const ALLOWED_STATES: Readonly<
  Record<InstanceCall, { readonly states: readonly InstanceState[]; readonly hint: string }>
> = {
  standby: { states: ['RUNNING'], hint: 'only a running instance can be parked' },
  restore: { states: ['STANDBY'], hint: 'only a parked instance can be restored' },
  fork: { states: ['STANDBY'], hint: 'park it first (StandbyInstance)' },
  stop: { states: ['RUNNING', 'STANDBY', 'FAILED'], hint: 'there is nothing to stop' },
  delete: { states: ['STANDBY', 'STOPPED', 'FAILED'], hint: 'stop it first, or delete with force' },
  forceDelete: { states: ['RUNNING', 'STANDBY', 'STOPPED', 'FAILED'], hint: 'it is being created' },
};

/** From each state, the states it may change to; DELETED is the absence of the instance. */
export const TRANSITIONS: Readonly<Record<InstanceState, readonly InstanceState[]>> = {
  CREATING: ['RUNNING', 'FAILED'],
  RUNNING: ['STANDBY', 'STOPPED', 'FAILED'],
  STANDBY: ['RUNNING', 'STOPPED'],
  STOPPED: [],
  FAILED: ['STOPPED'],
};

/** @throws InvalidState naming the state, the states that would do, and the way there */
export function assertAllowed(call: InstanceCall, name: string, state: InstanceState): void {
  const { states, hint } = ALLOWED_STATES[call];
  if (states.includes(state)) return;
  throw new InvalidState(`instance ${name} is ${state}; ${call} needs ${states.join(' or ')}: ${hint}`, {
    reason: 'INSTANCE_STATE',
    metadata: { instance: name, state, allowed: states.join(',') },
  });
}
