import { closeSync } from 'node:fs';
import { Capacity, Conflict, InvalidState, Unreachable, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import type { NetworkIdentity } from '../domain/network-identity.js';
import type { TapKind } from '../ports/driver.js';
import type { NicAttachment, Network, NetworkStatus } from '../ports/network.js';
import type { DeviceNames } from './host/device-names.js';
import type { OpenPort } from './host/guest-filter.js';
import type { IdentityPool } from './host/identity-pool.js';
import { networkDevices } from './host/network-devices.js';
import { removeKeptTap } from './tap-attachment.js';
import type { TapHost } from './tap-host.js';

const IDENTITY_KEYS = ['mac', 'ipv4', 'prefixLength', 'gateway', 'tap'] as const;

/**
 * Every instance on a TAP of its own in one bridge, where it can speak to the gateway only, and only as itself (see
 * host/guest-filter.ts). What belongs to a slot is fixed and known to the host beforehand.
 */
export class TapNetwork implements Network {
  readonly status: NetworkStatus;

  constructor(
    private readonly names: DeviceNames,
    private readonly pool: IdentityPool,
    private readonly openPorts: readonly OpenPort[],
    private readonly host: TapHost,
  ) {
    this.status = {
      mode: 'tap',
      modeReason: '',
      subnet: pool.subnet.cidr,
      gateway: pool.gateway,
      bridge: names.bridge,
      capacity: pool.capacity,
      ackBindAddress: pool.gateway,
      sourceAddressIsGuest: true,
    };
  }

  identityOf(slot: number): NetworkIdentity {
    return this.pool.identityOf(slot);
  }

  /**
   * Opens the slot's TAP, plugged in and up: about half a millisecond, all of it in the kernel.
   * @throws Conflict while the VMM that had the slot before still holds the TAP; InvalidState for an identity of another
   * subnet or state directory; Capacity when the bridge has no port left; Unreachable when the bridge is gone
   */
  attach(identity: NetworkIdentity, kind: TapKind): NicAttachment {
    const own = this.ownIdentity(identity);
    const { tap } = own;
    const descriptor = this.openTap(tap);
    try {
      return this.host.plug(descriptor, own, kind);
    } catch (error) {
      closeSync(descriptor);
      if (errnoOf(error) === 'EXFULL')
        throw new Capacity(`the bridge ${this.names.bridge} has no port left: stop or park some instances`, {
          reason: 'BRIDGE_PORTS_EXHAUSTED',
          cause: error,
        });
      throw new Unreachable(
        `${tap} cannot be plugged into ${this.names.bridge}: ${messageOf(error)}; restart the daemon`,
        {
          reason: 'BRIDGE_UNUSABLE',
          metadata: { tap, bridge: this.names.bridge },
          cause: error,
        },
      );
    }
  }

  async openAckPort(port: number): Promise<void> {
    await this.host.replaceOpenPorts([...this.openPorts, { protocol: 'udp', port }]);
  }

  strayTaps(usedSlots: ReadonlySet<number>): readonly string[] {
    const { tap, tapPrefix } = this.names;
    const known = new Set([...usedSlots, ...Array(this.host.keptTaps).keys()].map((slot) => tap(slot)));
    return networkDevices().filter((name) => name.startsWith(tapPrefix) && !known.has(name));
  }

  removeStrayTap(name: string): void {
    removeKeptTap(name);
  }

  async close(options: { inUse: boolean }): Promise<void> {
    await this.host.close(options);
  }

  /** @throws InvalidState when the filter has another identity for the slot, or none: nothing of the guest would pass */
  private ownIdentity(identity: NetworkIdentity): NetworkIdentity & { readonly tap: string } {
    const { slot, ipv4 } = identity;
    const own = slot >= 0 && slot < this.pool.capacity ? this.pool.identityOf(slot) : undefined;
    if (own?.tap !== undefined && IDENTITY_KEYS.every((key) => identity[key] === own[key]))
      return { ...own, tap: own.tap };
    throw new InvalidState(
      `address ${ipv4} does not belong to slot ${String(slot)} of ${this.pool.subnet.cidr}: it was given out by a daemon with another network.subnet, network.mode or state directory`,
      { reason: 'NETWORK_IDENTITY_FOREIGN', metadata: { slot: String(slot), ipv4, subnet: this.pool.subnet.cidr } },
    );
  }

  private openTap(name: string): number {
    try {
      return this.host.openTap(name);
    } catch (error) {
      if (errnoOf(error) === 'EBUSY')
        throw new Conflict(`${name} is still held by the VMM that had the address before`, {
          reason: 'TAP_BUSY',
          metadata: { tap: name },
          cause: error,
        });
      throw new Unreachable(`${name} cannot be opened until the daemon is restarted: ${messageOf(error)}`, {
        reason: 'TAP_UNAVAILABLE',
        metadata: { tap: name },
        cause: error,
      });
    }
  }
}
