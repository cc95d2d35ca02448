import { closeSync } from 'node:fs';
import { Capacity, Conflict, InvalidState, Unreachable, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import type { NetworkIdentity } from '../domain/network-identity.js';
import { deviceIndex, plugIntoBridge } from '../os/netdevice.js';
import { openTap } from '../os/tun.js';
import type { TapKind } from '../ports/driver.js';
import type { NicAttachment, Network, NetworkStatus } from '../ports/network.js';
import type { DeviceNames } from './device-names.js';
import { replaceOpenPorts, type OpenPort } from './guest-filter.js';
import { removeHostBridge, type HostBridge } from './host-bridge.js';
import type { IdentityPool } from './identity-pool.js';
import { loadRuleset } from './nft.js';
import { networkDevices } from './network-devices.js';
import { NamedTapAttachment, TapAttachment, removeKeptTap } from './tap-attachment.js';

const IDENTITY_KEYS = ['mac', 'ipv4', 'prefixLength', 'gateway', 'tap'] as const;

/**
 * Every instance on a TAP of its own in one bridge, where it can speak to the gateway only, and only as itself (see
 * guest-filter.ts). What belongs to a slot is fixed and known to the host beforehand.
 */
export class TapNetwork implements Network {
  readonly status: NetworkStatus;

  constructor(
    private readonly names: DeviceNames,
    private readonly pool: IdentityPool,
    private readonly openPorts: readonly OpenPort[],
    private readonly host: HostBridge,
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
   * Opens the slot's TAP and plugs it in, up: about half a millisecond, all of it in the kernel.
   * @throws Conflict while the VMM that had the slot before still holds the TAP; InvalidState for an identity of another
   * subnet or state directory; Capacity when the bridge has no port left; Unreachable when the bridge is gone
   */
  attach(identity: NetworkIdentity, kind: TapKind): NicAttachment {
    const { tap } = this.ownIdentity(identity);
    const descriptor = this.openTap(tap);
    try {
      plugIntoBridge(this.host.routes, deviceIndex(this.host.routes, tap), this.host.index, identity);
      return kind === 'tap' ? new TapAttachment(descriptor) : new NamedTapAttachment(descriptor, tap);
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
    await loadRuleset(replaceOpenPorts(this.names, [...this.openPorts, { protocol: 'udp', port }]));
  }

  strayTaps(usedSlots: ReadonlySet<number>): readonly string[] {
    const used = new Set([...usedSlots].map((slot) => this.names.tap(slot)));
    return networkDevices().filter((name) => name.startsWith(this.names.tapPrefix) && !used.has(name));
  }

  removeStrayTap(name: string): void {
    removeKeptTap(name);
  }

  async close({ inUse }: { inUse: boolean }): Promise<void> {
    using routes = this.host.routes;
    closeSync(this.host.keeper);
    if (!inUse) await removeHostBridge(routes, this.names);
  }

  /** @throws InvalidState when the filter has another identity for the slot, or none: nothing of the guest would pass */
  private ownIdentity(identity: NetworkIdentity): { tap: string } {
    const { slot, ipv4 } = identity;
    const own = slot >= 0 && slot < this.pool.capacity ? this.pool.identityOf(slot) : undefined;
    if (own?.tap !== undefined && IDENTITY_KEYS.every((key) => identity[key] === own[key])) return { tap: own.tap };
    throw new InvalidState(
      `address ${ipv4} does not belong to slot ${String(slot)} of ${this.pool.subnet.cidr}: it was given out by a daemon with another network.subnet, network.mode or state directory`,
      { reason: 'NETWORK_IDENTITY_FOREIGN', metadata: { slot: String(slot), ipv4, subnet: this.pool.subnet.cidr } },
    );
  }

  private openTap(name: string): number {
    try {
      return openTap(name);
    } catch (error) {
      if (errnoOf(error) === 'EBUSY')
        throw new Conflict(`${name} is still held by the VMM that had the address before`, {
          reason: 'TAP_BUSY',
          metadata: { tap: name },
          cause: error,
        });
      throw new Unreachable(`${name} cannot be opened: ${messageOf(error)}`, {
        reason: 'TAP_UNAVAILABLE',
        metadata: { tap: name },
        cause: error,
      });
    }
  }
}
