import { Capacity } from '@offshoot/shared/errors.js';
import { nextFreeSlot } from '../domain/next-free-slot.js';
import { mintInstanceId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { Context } from './context.js';
import type { UndoStack } from './undo-stack.js';

/** What is left to choose for a new instance; the rest is minted here. */
export type InstanceDraft = Omit<Instance, 'id' | 'name' | 'state' | 'stateReason' | 'network' | 'createdAt'> & {
  readonly name: string | undefined;
};

let lastSlot = -1;

/**
 * Takes a name, an id and an address for a new instance, all in one row: synchronous, so that no two calls can take the
 * same. Registers the release.
 * @throws AlreadyExists, Capacity
 */
export function reserveInstance(context: Context, draft: InstanceDraft, undo: UndoStack): Instance {
  const { store, network, limits } = context;
  if (store.count() >= limits.instances)
    throw new Capacity(
      `this host holds ${String(limits.instances)} instances, as many as limits.instances allows: delete some`,
      {
        reason: 'INSTANCE_LIMIT',
        metadata: { limit: String(limits.instances) },
      },
    );
  const slot = nextFreeSlot(store.usedSlots(), network.status.capacity, lastSlot);
  const id = mintInstanceId();
  const instance: Instance = {
    ...draft,
    id,
    name: draft.name ?? `vm-${id.slice(-10)}`,
    state: 'CREATING',
    stateReason: '',
    network: network.identityOf(slot),
    createdAt: new Date().toISOString(),
  };
  store.insert(instance);
  lastSlot = slot;
  undo.push('release name and address', () => {
    store.delete(id);
  });
  return instance;
}
