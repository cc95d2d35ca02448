import type { Instance } from '../domain/instance.js';
import { TRANSITIONS, type InstanceState } from '../domain/instance-state.js';
import type { Context } from './context.js';

type Change = Partial<Pick<Instance, 'capture' | 'vmm' | 'agent' | 'stateReason' | 'identityPending' | 'replacing'>>;

/** An instance in its next state; fields given as undefined are removed. A transition the table does not know is a defect. */
export function changed(
  instance: Instance,
  state: InstanceState,
  change: { readonly [Key in keyof Change]: Change[Key] | undefined },
): Instance {
  if (state !== instance.state && !TRANSITIONS[instance.state].includes(state))
    throw new Error(`no transition from ${instance.state} to ${state}`);
  const next: Record<string, unknown> = { ...instance, state };
  for (const [key, value] of Object.entries(change)) {
    if (value === undefined) Reflect.deleteProperty(next, key);
    else next[key] = value;
  }
  return next as unknown as Instance;
}

/** Row and record; the row is what counts. */
export async function save(
  { store, files }: Pick<Context, 'store' | 'files'>,
  instance: Instance,
  options: { durable: boolean },
): Promise<void> {
  store.update(instance);
  await files.save(instance, options);
}
