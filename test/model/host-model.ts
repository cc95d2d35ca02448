/** What the model knows of an instance: nothing but its state. */
export type ModelState = 'RUNNING' | 'PAUSED' | 'STANDBY' | 'STOPPED' | 'FAILED';

export interface ModelSnapshot {
  /** Name of the instance it was taken of; names are never used again here. */
  readonly source: string;
  readonly memory: boolean;
}

/** What ought to be on a host: names and states, and nothing else. */
export class HostModel {
  readonly instances = new Map<string, ModelState>();
  readonly snapshots = new Map<string, ModelSnapshot>();
  private made = 0;

  newName(prefix: string): string {
    return `${prefix}-${String(this.made++)}`;
  }

  /** The instance that a number stands for; there must be one. */
  instance(number: number): { readonly name: string; readonly state: ModelState } {
    const entries = [...this.instances];
    const [name, state] = entries[number % entries.length]!;
    return { name, state };
  }

  snapshot(number: number): { readonly name: string } & ModelSnapshot {
    const entries = [...this.snapshots];
    const [name, snapshot] = entries[number % entries.length]!;
    return { name, ...snapshot };
  }

  /** VMMs that ought to be there, each with a TAP of its own. */
  get live(): number {
    return [...this.instances.values()].filter((state) => state === 'RUNNING' || state === 'PAUSED').length;
  }
}

/** The specification's transitions once more: what each call makes of each state; a state that is missing refuses it. */
export const CALLS = {
  pause: { RUNNING: 'PAUSED' },
  resume: { PAUSED: 'RUNNING' },
  standby: { RUNNING: 'STANDBY', PAUSED: 'STANDBY' },
  restore: { STANDBY: 'RUNNING' },
  start: { STOPPED: 'RUNNING', FAILED: 'RUNNING' },
  stop: { RUNNING: 'STOPPED', PAUSED: 'STOPPED', STANDBY: 'STOPPED', FAILED: 'STOPPED' },
} as const satisfies Readonly<Record<string, Readonly<Partial<Record<ModelState, ModelState>>>>>;

export type SimpleCall = keyof typeof CALLS;

export const nextState = (call: SimpleCall, state: ModelState): ModelState | undefined => {
  const next: Readonly<Partial<Record<ModelState, ModelState>>> = CALLS[call];
  return next[state];
};

/** States in which an instance can be deleted without force. */
export const DELETABLE: readonly ModelState[] = ['STANDBY', 'STOPPED', 'FAILED'];

export type Target = 'RUNNING' | 'STANDBY' | 'STOPPED';

/** What becomes of a fork: its state, or undefined where it is refused. @param memory whether there is any to fork */
export function forkedState(memory: boolean, target: Target | undefined): ModelState | undefined {
  if (memory) return target ?? 'RUNNING';
  return target === 'STANDBY' ? undefined : (target ?? 'STOPPED');
}
