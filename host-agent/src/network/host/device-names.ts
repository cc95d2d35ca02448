import { createHash } from 'node:crypto';

/**
 * Names of what a daemon makes on the host. They carry a hash of its state directory, so that two daemons on one host do
 * not meet, and a daemon finds its own again after it was killed. Device names have at most 15 characters.
 */
export interface DeviceNames {
  readonly bridge: string;
  /** All TAPs of the daemon begin so, and nothing else does. */
  readonly tapPrefix: string;
  /**
   * A TAP of the daemon's own in the bridge, which nobody speaks on. A bridge without a port has no carrier, and when it
   * gets one the kernel attaches its transmit queue only some time later: what the host says to the first guest until
   * then, such as the answer to an ack, would be dropped without an error.
   */
  readonly keeper: string;
  /** Table of the packet filter, of the same name in each family. */
  readonly table: string;
  /**
   * Group of devices (IFLA_GROUP) of the TAPs that root's helper makes. Removing a device takes the kernel some 20 ms, and all
   * of a group no longer.
   */
  readonly group: number;
  readonly tap: (slot: number) => string;
}

/** Groups of Offshoot, far from those that people number by hand. */
const GROUPS = 0x4f00_0000;

/** @param stateDirectory canonical: the same directory must always be spelled the same */
export function deviceNames(stateDirectory: string): DeviceNames {
  const hash = createHash('sha256').update(stateDirectory).digest('hex').slice(0, 6);
  const tapPrefix = `oft-${hash}-`;
  return {
    bridge: `ofbr-${hash}`,
    tapPrefix,
    keeper: `ofk-${hash}`,
    table: `offshoot_${hash}`,
    group: GROUPS + parseInt(hash, 16),
    tap: (slot) => `${tapPrefix}${String(slot)}`,
  };
}
