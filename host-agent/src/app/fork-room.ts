import { Capacity } from '@offshoot/shared/errors.js';
import type { Context } from './context.js';

/** @throws Capacity before any work when not all of so many forks can have a place and an address */
export function assertRoom({ store, limits, network }: Context, count: number): void {
  const room = [
    {
      reason: 'INSTANCE_LIMIT',
      free: limits.instances - store.count(),
      what: 'more instances: delete some, or raise limits.instances',
      metadata: { limit: String(limits.instances) },
    },
    {
      reason: 'ADDRESSES_EXHAUSTED',
      free: network.status.capacity - store.usedSlots().size,
      what: 'more addresses: delete instances, or give network.subnet a shorter prefix',
      metadata: { capacity: String(network.status.capacity) },
    },
  ];
  for (const { reason, free, what, metadata } of room)
    if (count > free)
      throw new Capacity(
        `${count === 1 ? 'a fork was' : `${String(count)} forks were`} asked for, and this host has ${String(free)} ${what}`,
        {
          reason,
          metadata: { ...metadata, asked: String(count), free: String(free) },
        },
      );
}
