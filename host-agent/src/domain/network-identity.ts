/** How instances are attached to the host: a TAP on a bridge, or the hypervisor's own user-space network stack. */
export type NetworkMode = 'tap' | 'user';

/** What an instance is on the network. All of it follows from one slot of the address pool. */
export interface NetworkIdentity {
  /** Number of the slot in the pool; the lock on everything below. */
  readonly slot: number;
  /** Lower case, colons. */
  readonly mac: string;
  readonly ipv4: string;
  readonly prefixLength: number;
  readonly gateway: string;
  /** TAP device on the host, at most 15 characters; absent in `user` mode. */
  readonly tap?: string;
}
