import { realpath } from 'node:fs/promises';
import { Aborted, OffshootError, Unsupported, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import type { Network } from '../ports/network.js';
import { deviceNames } from './device-names.js';
import type { OpenPort } from './guest-filter.js';
import { openHostBridge } from './host-bridge.js';
import { IdentityPool } from './identity-pool.js';
import { networkDevices } from './network-devices.js';
import { parseSubnet, type Subnet } from './subnet.js';
import { removeKeptTap } from './tap-attachment.js';
import { TapNetwork } from './tap-network.js';
import { UserNetwork } from './user-network.js';

export interface NetworkOptions {
  /** `auto`: `tap` where it can be set up, else `user`. */
  readonly mode: 'auto' | 'tap' | 'user';
  /** CIDR, prefix of 16 to 28. */
  readonly subnet: string;
  /** Exists. Gives the devices their names. */
  readonly stateDirectory: string;
  readonly logger: Logger;
  /** What guests may reach on the gateway besides the ack port. */
  readonly openPorts?: readonly OpenPort[];
}

/**
 * Sets the network up. Which rights there are is found by trying.
 * @throws InvalidInput for a malformed subnet; Unsupported when `tap` was asked for and cannot be; Aborted
 */
export async function openNetwork(options: NetworkOptions, signal?: AbortSignal): Promise<Network> {
  const subnet = parseSubnet(options.subnet);
  if (options.mode === 'user') return new UserNetwork(new IdentityPool(subnet), '');
  try {
    return await openTapNetwork(options, subnet, signal);
  } catch (error) {
    const reason = reasonOf(error);
    if (options.mode === 'tap')
      throw new Unsupported(`network mode tap is not possible here: ${reason.message}`, {
        reason: reason.reason,
        metadata: reason.metadata,
        cause: error,
      });
    options.logger.warn({ err: error }, `network mode user, because tap is not possible: ${reason.message}`);
    return new UserNetwork(new IdentityPool(subnet), reason.message);
  }
}

async function openTapNetwork(options: NetworkOptions, subnet: Subnet, signal?: AbortSignal): Promise<Network> {
  const { logger, openPorts = [] } = options;
  const names = deviceNames(await realpath(options.stateDirectory));
  const pool = new IdentityPool(subnet, names.tap);
  const host = await openHostBridge(names, pool, openPorts, logger, signal);
  // Of a daemon that was killed while a VMM was opening its own.
  for (const name of networkDevices()) if (name.startsWith(names.tapPrefix)) removeKeptTap(name);
  logger.info({ bridge: names.bridge, subnet: subnet.cidr, capacity: pool.capacity }, 'network set up');
  return new TapNetwork(names, pool, openPorts, host);
}

/** Why it cannot be; a cancellation and a defect are no reason and are thrown on. */
function reasonOf(error: unknown): { message: string; reason: string; metadata: Readonly<Record<string, string>> } {
  if (error instanceof OffshootError && !(error instanceof Aborted)) return error;
  const code = errnoOf(error);
  if (code === undefined || error instanceof Aborted) throw error;
  return { message: messageOf(error), reason: 'NETWORK_SETUP_FAILED', metadata: { code } };
}
