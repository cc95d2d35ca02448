import type { Logger } from 'pino';
import type { NetworkIdentity } from '../domain/network-identity.js';
import type { TapKind } from '../ports/driver.js';
import type { NicAttachment } from '../ports/network.js';
import type { DeviceNames } from './host/device-names.js';
import type { OpenPort } from './host/guest-filter.js';
import type { IdentityPool } from './host/identity-pool.js';

/** What TAPs need root for: the daemon has done it as root, or had root's helper do it. */
export interface TapHost {
  /** Slots, from 0 on, whose TAPs stay also while nobody uses them. */
  readonly keptTaps: number;
  /** Opens the TAP of a slot by its name. @returns a descriptor @throws system errors: EBUSY while a process has it open */
  openTap(name: string): number;
  /**
   * The TAP that was opened, plugged into the bridge and up.
   * @param descriptor the attachment's from here on, unless it throws @throws system errors; EXFULL: the bridge is full
   */
  plug(descriptor: number, identity: NetworkIdentity & { readonly tap: string }, kind: TapKind): NicAttachment;
  /** Lets guests reach these ports of the gateway, and no other. @throws Unsupported */
  replaceOpenPorts(ports: readonly OpenPort[]): Promise<void>;
  /** Takes bridge and filter away unless instances are running. */
  close(options: { inUse: boolean }): Promise<void>;
}

/** What a {@link TapHost} is opened with. */
export interface TapHostOptions {
  readonly names: DeviceNames;
  readonly pool: IdentityPool;
  readonly openPorts: readonly OpenPort[];
  readonly logger: Logger;
}
