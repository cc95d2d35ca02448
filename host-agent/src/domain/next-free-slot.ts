import { Capacity } from '@offshoot/shared/errors.js';

/**
 * The first free slot after the one handed out last, round and round: so a slot rests as long as possible before it is
 * somebody else, and late packets of its former owner find nobody.
 * @param last slot handed out last; -1 at first
 * @throws Capacity when all are in use
 */
export function nextFreeSlot(used: ReadonlySet<number>, capacity: number, last: number): number {
  for (let step = 1; step <= capacity; step++) {
    const slot = (Math.max(last, -1) + step) % capacity;
    if (!used.has(slot)) return slot;
  }
  throw new Capacity(
    `all ${String(capacity)} addresses of the network are in use: delete instances, or give network.subnet a shorter prefix`,
    { reason: 'ADDRESSES_EXHAUSTED', metadata: { capacity: String(capacity) } },
  );
}
