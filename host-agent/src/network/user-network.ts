import type { NetworkIdentity } from '../domain/network-identity.js';
import type { NicAttachment, Network, NetworkStatus } from '../ports/network.js';
import type { IdentityPool } from './host/identity-pool.js';

/**
 * Every instance on a network of its own inside its hypervisor: needs no rights and no set-up. The hypervisor's gateway
 * address leads to the host's loopback, which is how acks arrive, and from its address, not the guest's.
 */
export class UserNetwork implements Network {
  readonly status: NetworkStatus;

  /** @param reason why it is not `tap`; empty when `user` was asked for */
  constructor(
    private readonly pool: IdentityPool,
    reason: string,
  ) {
    this.status = {
      mode: 'user',
      modeReason: reason,
      subnet: pool.subnet.cidr,
      gateway: pool.gateway,
      bridge: '',
      capacity: pool.capacity,
      ackBindAddress: '127.0.0.1',
      sourceAddressIsGuest: false,
    };
  }

  identityOf(slot: number): NetworkIdentity {
    return this.pool.identityOf(slot);
  }

  strayTaps(): readonly string[] {
    return [];
  }

  removeStrayTap(): void {
    // There are none.
  }

  attach(): NicAttachment {
    const nothingToClose = (): void => undefined;
    return {
      backend: { kind: 'user', subnet: this.status.subnet, gateway: this.status.gateway },
      passTo: nothingToClose,
      close: nothingToClose,
      [Symbol.dispose]: nothingToClose,
    };
  }

  openAckPort(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
