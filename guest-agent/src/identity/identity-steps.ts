import type { GuestIdentity } from '../network/guest-identity.js';
import type { ForkIdentity } from './fork-identity.js';

/** Where each part of an identity is put into force. All of it is synchronous: nobody sees half an identity. */
export interface IdentityParts {
  readonly network: { apply(identity: GuestIdentity): void };
  /** The wall clock, in milliseconds since 1970. */
  readonly clock: { now(): number; set(unixMs: number): void };
  readonly entropy: { add(bytes: Buffer): void };
  readonly names: { setHostname(hostname: string): void; setMachineId(machineId: string): void };
  readonly hostKeys: {
    /** Takes the keys away that the source has too; says whether there were any. */
    remove(): boolean;
    /** Makes new ones of the kinds that were removed. Spawns, so it is called when everything else is done. */
    renew(): Promise<void>;
  };
  readonly credential: {
    set(credential: Buffer): void;
    /** Leaves nothing of it. */
    wipe(): void;
    /** Does all that `set` does, and leaves the one there is as it is. */
    rehearse(credential: Buffer): void;
  };
  readonly generation: { readonly current: number; increment(): void };
}

/** What putting an identity into force came to. */
export interface IdentityReport {
  /** How far the wall clock went, in milliseconds; undefined when the identity had no time. */
  readonly clockStepMs: number | undefined;
  readonly hostKeysRemoved: boolean;
}

/**
 * Puts an identity into force, the network first (the way of the answer), the generation last (who sees a new one finds all
 * the rest new as well). The kernel's own random numbers are reseeded before anything new could be drawn from them.
 * @param runningMs how long this VM has run since the identity's time was taken; asked when the clock is set, because the step
 * before it alone takes up to 80 ms under emulation
 * @throws what the kernel refuses a step with; the steps before it stay done
 */
export function applyIdentity(parts: IdentityParts, identity: ForkIdentity, runningMs: () => number): IdentityReport {
  const { hostname, machineId, entropy, hostTimeMs, credential } = identity;
  parts.network.apply(identity);
  let clockStepMs: number | undefined;
  if (hostTimeMs !== undefined) {
    const target = hostTimeMs + runningMs();
    clockStepMs = target - parts.clock.now();
    parts.clock.set(target);
  }
  if (entropy !== undefined) parts.entropy.add(entropy);
  if (hostname !== undefined) parts.names.setHostname(hostname);
  if (machineId !== undefined) parts.names.setMachineId(machineId);
  // Keys belong to a machine: as long as that is the same one, they stay.
  const hostKeysRemoved = machineId !== undefined && parts.hostKeys.remove();
  if (credential !== undefined) parts.credential.set(credential);
  parts.generation.increment();
  return { clockStepMs, hostKeysRemoved };
}
