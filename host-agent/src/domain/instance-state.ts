import { InvalidState } from '@offshoot/shared/errors.js';

export type InstanceState = 'CREATING' | 'RUNNING' | 'PAUSED' | 'STANDBY' | 'STOPPED' | 'FAILED';

/** Calls that ask for a state. `forkRunning` is a fork with `from_running`, `setBack` restores a snapshot in place. */
export type InstanceCall =
  | 'start'
  | 'pause'
  | 'resume'
  | 'standby'
  | 'restore'
  | 'fork'
  | 'forkRunning'
  | 'snapshot'
  | 'setBack'
  | 'stop'
  | 'delete'
  | 'forceDelete';

/** For each call: the states it is allowed in, and what to do instead where it is not. */
export const ALLOWED_STATES: Readonly<
  Record<InstanceCall, { readonly states: readonly InstanceState[]; readonly hint: string }>
> = {
  start: { states: ['STOPPED', 'FAILED'], hint: 'only an instance without a hypervisor can be started' },
  pause: { states: ['RUNNING'], hint: 'only a running instance can be paused' },
  resume: { states: ['PAUSED'], hint: 'only a paused instance can be resumed' },
  standby: { states: ['RUNNING', 'PAUSED'], hint: 'only an instance with a hypervisor can be parked' },
  restore: { states: ['STANDBY'], hint: 'only a parked instance can be restored' },
  fork: { states: ['STANDBY', 'STOPPED'], hint: 'park it first (StandbyInstance), or fork it with from_running' },
  forkRunning: {
    states: ['RUNNING', 'PAUSED', 'STANDBY', 'STOPPED'],
    hint: 'a failed instance has neither memory nor a disk to rely on: start it, or delete it',
  },
  snapshot: {
    states: ['RUNNING', 'PAUSED', 'STANDBY', 'STOPPED'],
    hint: 'a failed instance has neither memory nor a disk to rely on: start it, or delete it',
  },
  setBack: { states: ['RUNNING', 'PAUSED', 'STANDBY', 'STOPPED', 'FAILED'], hint: 'it is being created' },
  stop: { states: ['RUNNING', 'PAUSED', 'STANDBY', 'FAILED'], hint: 'there is nothing to stop' },
  delete: { states: ['STANDBY', 'STOPPED', 'FAILED'], hint: 'stop it first, or delete with force' },
  forceDelete: { states: ['RUNNING', 'PAUSED', 'STANDBY', 'STOPPED', 'FAILED'], hint: 'it is being created' },
};

/** From each state, the states it may change to; DELETED is the absence of the instance. */
export const TRANSITIONS: Readonly<Record<InstanceState, readonly InstanceState[]>> = {
  CREATING: ['RUNNING', 'STANDBY', 'STOPPED', 'FAILED'],
  RUNNING: ['PAUSED', 'STANDBY', 'STOPPED', 'FAILED'],
  PAUSED: ['RUNNING', 'STANDBY', 'STOPPED', 'FAILED'],
  STANDBY: ['RUNNING', 'STOPPED'],
  STOPPED: ['RUNNING', 'STANDBY', 'FAILED'],
  FAILED: ['RUNNING', 'STANDBY', 'STOPPED'],
};

/** States in which a VMM runs. */
export const LIVE_STATES: readonly InstanceState[] = ['RUNNING', 'PAUSED'];

/** States in which a disk lies at rest, without a VMM, and can be relied on. */
export const RESTING_STATES: readonly InstanceState[] = ['STANDBY', 'STOPPED'];

/** @throws InvalidState naming the state, the states that would do, and the way there */
export function assertAllowed(call: InstanceCall, name: string, state: InstanceState): void {
  const { states, hint } = ALLOWED_STATES[call];
  if (states.includes(state)) return;
  throw new InvalidState(`instance ${name} is ${state}; ${call} needs ${states.join(' or ')}: ${hint}`, {
    reason: 'INSTANCE_STATE',
    metadata: { instance: name, state, allowed: states.join(',') },
  });
}
