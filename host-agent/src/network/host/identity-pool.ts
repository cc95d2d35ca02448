import { InvalidInput } from '@offshoot/shared/errors.js';
import type { NetworkIdentity } from '../../domain/network-identity.js';
import { formatIpv4, subnetSize, type Subnet } from './subnet.js';

/**
 * Offset of slot 0 in the subnet. The first address is the gateway; the next are those QEMU's user-mode stack keeps for
 * itself (.2 its gateway by default, .3 DNS, .4 SMB), which a guest must not have in either mode: a slot is the same
 * machine whatever the mode.
 */
const FIRST_GUEST_OFFSET = 5;

/** A bridge takes 1023 ports (BR_PORT_BITS 10), but parked instances hold addresses too. */
const MAX_SLOTS = 4000;

/** Of a network whose slots have TAPs all the time: the bridge's ports without the keeper's. */
export const MOST_KEPT_TAPS = 1022;

/**
 * The fixed identities of all slots. That IPv4 and MAC follow from the slot and never change is what lets the packet
 * filter be written once for all of them: nothing is changed on the host when an instance is made, forked or removed.
 */
export class IdentityPool {
  readonly capacity: number;
  readonly gateway: string;
  readonly gatewayMac: string;

  /**
   * @param tapName name of a slot's TAP; absent where there are none
   * @param most slots there are at most
   */
  constructor(
    readonly subnet: Subnet,
    private readonly tapName?: (slot: number) => string,
    most = MAX_SLOTS,
  ) {
    const usable = subnetSize(subnet.prefixLength) - 1 - FIRST_GUEST_OFFSET;
    this.capacity = Math.min(usable, most);
    this.gateway = formatIpv4(subnet.base + 1);
    this.gatewayMac = macOf(subnet.base + 1);
  }

  /** @throws InvalidInput unless 0 <= slot < capacity */
  identityOf(slot: number): NetworkIdentity {
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.capacity)
      throw InvalidInput.field('slot', `must be 0 to ${String(this.capacity - 1)}, got ${String(slot)}`);
    const address = this.subnet.base + FIRST_GUEST_OFFSET + slot;
    return {
      slot,
      mac: macOf(address),
      ipv4: formatIpv4(address),
      prefixLength: this.subnet.prefixLength,
      gateway: this.gateway,
      ...(this.tapName === undefined ? {} : { tap: this.tapName(slot) }),
    };
  }

  *identities(): Generator<NetworkIdentity> {
    for (let slot = 0; slot < this.capacity; slot++) yield this.identityOf(slot);
  }
}

/** 02: locally administered, unicast; 4f: Offshoot; then the IPv4 address, so that two slots never share a MAC. */
const macOf = (address: number): string =>
  `02:4f:${[24, 16, 8, 0].map((shift) => ((address >>> shift) & 0xff).toString(16).padStart(2, '0')).join(':')}`;
