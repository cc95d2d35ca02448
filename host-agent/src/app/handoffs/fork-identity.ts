import { createHash, randomBytes } from 'node:crypto';
import type { InstanceId } from '../../domain/ids.js';
import type { Instance } from '../../domain/instance.js';
import type { ForkIdentity } from '../../ports/guest-link.js';

/** Bytes mixed into the guest's kernel pool: as much as a hash of its pool holds, twice over. */
export const ENTROPY_BYTES = 64;

/** The machine id that belongs to an instance: 32 hex digits that follow from its id, as systemd makes one from a VM's UUID. */
export const machineIdOf = (id: InstanceId): string => createHash('sha256').update(id).digest('hex').slice(0, 32);

/**
 * Who a fork is, with fresh random bytes and the present time: taken as late as possible, and never twice the same.
 * @param credential the one that is valid for it now
 */
export function forkIdentity({ id, name, network }: Instance, credential: Buffer): Required<ForkIdentity> {
  return {
    ...network,
    tap: network.tap ?? '',
    hostname: name,
    machineId: machineIdOf(id),
    entropy: randomBytes(ENTROPY_BYTES),
    hostTimeMs: Date.now(),
    credential,
  };
}

/** The payload of `offshoot.network`: what does not depend on when it is asked for. */
export function networkPayload({ id, name, network }: Instance): Buffer {
  const { mac, ipv4, prefixLength, gateway } = network;
  return Buffer.from(JSON.stringify({ mac, ipv4, prefixLength, gateway, hostname: name, machineId: machineIdOf(id) }));
}
