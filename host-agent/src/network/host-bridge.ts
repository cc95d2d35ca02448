import { closeSync } from 'node:fs';
import { Aborted, Unsupported, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import {
  bringUpWithAddress,
  deleteDevice,
  deviceIndex,
  ensureBridge,
  findDevice,
  deviceName,
  ipv4Routes,
  plugIntoBridge,
} from '../os/netdevice.js';
import { RouteSocket } from '../os/rtnetlink.js';
import { openTap } from '../os/tun.js';
import type { DeviceNames } from './device-names.js';
import { guestFilter, removeFilter, type OpenPort } from './guest-filter.js';
import type { IdentityPool } from './identity-pool.js';
import { applyInterfaceSettings } from './interface-settings.js';
import { loadRuleset } from './nft.js';
import { overlaps, parseIpv4 } from './subnet.js';

/** Ethernet's. Guests have the same: a larger one on either side would lose frames silently. */
const MTU = 1500;

/** What is set up on the host: the packet filter and a bridge that carries the gateway's address. */
export interface HostBridge {
  readonly index: number;
  readonly routes: RouteSocket;
  /** Descriptor of the TAP that keeps the bridge's carrier on. */
  readonly keeper: number;
}

/**
 * Sets the host up, or takes over what a killed daemon left: the filter is replaced in one transaction, the bridge and
 * the TAPs of running instances stay as they are. What it made is removed again if it fails.
 * @throws Unsupported saying which right or program is missing, or which route is in the way; Aborted; system errors
 */
export async function openHostBridge(
  names: DeviceNames,
  pool: IdentityPool,
  openPorts: readonly OpenPort[],
  logger: Logger,
  signal?: AbortSignal,
): Promise<HostBridge> {
  throwIfAborted(signal);
  const keeper = openKeeper(names.keeper); // first, because it shows whether there are the rights
  const routes = new RouteSocket();
  let fresh = false;
  try {
    const existing = findDevice(routes, names.bridge);
    assertSubnetFree(routes, pool, existing);
    // The filter before the bridge, so that there is never a bridge without it.
    await loadRuleset(guestFilter(names, pool.gateway, pool.identities(), openPorts));
    fresh = existing === undefined;
    logger.debug({ table: names.table, identities: pool.capacity }, 'packet filter loaded');
    throwIfAborted(signal);
    const index = ensureBridge(routes, names.bridge, { mac: pool.gatewayMac, mtu: MTU });
    await applyInterfaceSettings(names.bridge, logger);
    plugIntoBridge(routes, deviceIndex(routes, names.keeper), index); // before the bridge is up: see DeviceNames.keeper
    bringUpWithAddress(routes, index, pool.gateway, pool.subnet.prefixLength);
    return { index, routes, keeper };
  } catch (error) {
    // Over a bridge that was there before, instances may be running: what they use stays.
    if (fresh) await removeQuietly(routes, names, logger);
    routes[Symbol.dispose]();
    closeSync(keeper);
    throw error;
  }
}

/** Looked at between the steps; none of them takes long. */
function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new Aborted('setting up the network was cancelled', { reason: 'CANCELLED', cause: signal.reason });
}

/** Takes the bridge and the filter away. */
export async function removeHostBridge(routes: RouteSocket, names: DeviceNames): Promise<void> {
  const index = findDevice(routes, names.bridge);
  if (index !== undefined) deleteDevice(routes, index);
  await loadRuleset(removeFilter(names));
}

/** After a failure, whose error is the one to report. */
async function removeQuietly(routes: RouteSocket, names: DeviceNames, logger: Logger): Promise<void> {
  try {
    await removeHostBridge(routes, names);
  } catch (error) {
    logger.warn({ err: error, bridge: names.bridge }, 'half-made network not removed');
  }
}

const WHY_NO_TAP: Readonly<Record<string, string>> = {
  ENOENT: 'there is no /dev/net/tun (kernel module tun)',
  ENODEV: 'the kernel has no tun driver behind /dev/net/tun',
  EACCES: 'no right to open /dev/net/tun',
  EPERM: 'no right to create network devices (CAP_NET_ADMIN)',
  EBUSY: 'another daemon with this state directory holds the network',
};

function openKeeper(name: string): number {
  try {
    return openTap(name);
  } catch (error) {
    const code = errnoOf(error) ?? '';
    throw new Unsupported(`${WHY_NO_TAP[code] ?? 'a TAP cannot be opened'}: ${messageOf(error)}`, {
      reason: 'TAP_UNAVAILABLE',
      metadata: { code },
      cause: error,
    });
  }
}

/** A default route is no conflict, nor is one that is written as two halves, as VPNs do. */
const DEFAULT_ROUTE_LENGTH = 1;

/** @throws Unsupported naming the route or address that shares addresses with the subnet */
function assertSubnetFree(routes: RouteSocket, pool: IdentityPool, bridge: number | undefined): void {
  const taken = ipv4Routes(routes).find(
    ({ destination, prefixLength, device }) =>
      prefixLength > DEFAULT_ROUTE_LENGTH &&
      (device === undefined || device !== bridge) &&
      overlaps(pool.subnet, { base: parseIpv4(destination) ?? 0, prefixLength }),
  );
  if (taken === undefined) return;
  const route = `${taken.destination}/${String(taken.prefixLength)}`;
  const where = taken.device === undefined ? '' : ` on ${deviceName(routes, taken.device)}`;
  throw new Unsupported(`the subnet ${pool.subnet.cidr} overlaps ${route}${where}: choose another network.subnet`, {
    reason: 'SUBNET_TAKEN',
    metadata: { subnet: pool.subnet.cidr, route },
  });
}
