import type { NetworkIdentity, NetworkMode } from '../domain/network-identity.js';
import type { NicBackend, TapKind } from './driver.js';

/** Facts for GetHost. */
export interface NetworkStatus {
  readonly mode: NetworkMode;
  /** Why not `tap`; empty in `tap` mode, or when `user` was asked for. */
  readonly modeReason: string;
  /** CIDR. */
  readonly subnet: string;
  readonly gateway: string;
  /** Name of the bridge; empty in `user` mode. */
  readonly bridge: string;
  /** Addresses instances can have. */
  readonly capacity: number;
  /** Address the ack socket binds to: the gateway on the bridge, or loopback. */
  readonly ackBindAddress: string;
  /** Whether a datagram's source address is the instance's own (`tap`) or the hypervisor's (`user`). */
  readonly sourceAddressIsGuest: boolean;
}

/** One instance's plug. Closing it lets go of the daemon's part; the device goes when the VMM does. */
export interface NicAttachment extends Disposable {
  readonly backend: NicBackend;
  /** The VMM has the device now, and takes it along when it ends. */
  passTo(pid: number): void;
  close(): void;
}

/** Where instances are attached to the host. */
export interface Network {
  readonly status: NetworkStatus;
  /** The identity that belongs to a slot: pure, so that the same slot always has the same. */
  identityOf(slot: number): NetworkIdentity;
  /**
   * Opens the host's end for an instance. Spawns nothing.
   * @param kind what the hypervisor takes where the network is made of TAPs
   */
  attach(identity: NetworkIdentity, kind: TapKind): NicAttachment;
  /** Lets guests reach the ack socket: UDP on this port of the gateway. Takes the place of the port opened before. */
  openAckPort(port: number): Promise<void>;
  /** TAPs of this daemon's that are no used slot's: of VMMs that are gone, or belong to nobody. Synchronous. */
  strayTaps(usedSlots: ReadonlySet<number>): readonly string[];
  /** Removes one, unless a process has it open. Synchronous. */
  removeStrayTap(name: string): void;
  /** Undoes the set-up unless instances still use it. */
  close(options: { inUse: boolean }): Promise<void>;
}
