import { realpath } from 'node:fs/promises';
import { Aborted, OffshootError, Unsupported, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import { CAP_NET_ADMIN, hasCapability } from '../os/capabilities.js';
import type { Network } from '../ports/network.js';
import { deviceNames } from './host/device-names.js';
import type { OpenPort } from './host/guest-filter.js';
import { IdentityPool, MOST_KEPT_TAPS } from './host/identity-pool.js';
import { parseSubnet, type Subnet } from './host/subnet.js';
import { HelperTapHost, type NetworkHelper } from './helper-tap-host.js';
import { OwnTapHost } from './own-tap-host.js';
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
  /** Used where the daemon has not the rights itself. */
  readonly helper?: NetworkHelper;
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
  const helper = hasCapability('/', CAP_NET_ADMIN) ? undefined : options.helper;
  const names = deviceNames(await realpath(options.stateDirectory));
  const slots = helper === undefined ? undefined : Math.min(MOST_KEPT_TAPS, helper.instances);
  const pool = new IdentityPool(subnet, names.tap, slots);
  const parts = { names, pool, openPorts, logger };
  const host = await (helper === undefined
    ? OwnTapHost.open(parts, signal)
    : HelperTapHost.open(parts, helper, signal));
  const by = helper === undefined ? 'the daemon' : helper.client.helper;
  logger.info({ bridge: names.bridge, subnet: subnet.cidr, capacity: pool.capacity, by }, 'network set up');
  return new TapNetwork(names, pool, openPorts, host);
}

/** Why it cannot be; a cancellation and a defect are no reason and are thrown on. */
function reasonOf(error: unknown): { message: string; reason: string; metadata: Readonly<Record<string, string>> } {
  if (error instanceof OffshootError && !(error instanceof Aborted)) return error;
  const code = errnoOf(error);
  if (code === undefined || error instanceof Aborted) throw error;
  return { message: messageOf(error), reason: 'NETWORK_SETUP_FAILED', metadata: { code } };
}
