import { Aborted, Unsupported } from '@offshoot/shared/errors.js';
import {
  bringUpWithAddress,
  deleteDevice,
  deviceIndex,
  ensureBridge,
  findDevice,
  deviceName,
  ipv4Routes,
  plugIntoBridge,
} from '../../os/netdevice.js';
import type { RouteSocket } from '../../os/rtnetlink.js';
import type { DeviceNames } from './device-names.js';
import { guestFilter, removeFilter, type OpenPort } from './guest-filter.js';
import type { HostLog } from './host-log.js';
import type { IdentityPool } from './identity-pool.js';
import { applyInterfaceSettings } from './interface-settings.js';
import type { LoadRuleset } from './nft.js';
import { overlaps, parseIpv4 } from './subnet.js';

/** Ethernet's. Guests have the same: a larger one on either side would lose frames silently. */
const MTU = 1500;

/** What setting up and taking away needs; a daemon that is root and root's helper have each their own. */
export interface BridgeParts {
  readonly names: DeviceNames;
  readonly routes: RouteSocket;
  readonly load: LoadRuleset;
  readonly log: HostLog;
}

/**
 * Sets up the packet filter and a bridge that carries the gateway's address, or takes over what a killed daemon left: the
 * filter is replaced in one transaction, the bridge and the TAPs of running instances stay as they are. What it made is
 * removed again if it fails. The keeper is there, and somebody has it open.
 * @returns index of the bridge
 * @throws Unsupported saying which program is missing, or which route is in the way; Aborted; system errors
 */
export async function setUpBridge(
  parts: BridgeParts,
  pool: IdentityPool,
  openPorts: readonly OpenPort[],
  signal?: AbortSignal,
): Promise<number> {
  const { names, routes, load, log } = parts;
  const existing = findDevice(routes, names.bridge);
  assertSubnetFree(routes, pool, existing);
  // The filter before the bridge, so that there is never a bridge without it.
  await load(guestFilter(names, pool.gateway, pool.identities(), openPorts));
  try {
    log.debug({ table: names.table, identities: pool.capacity }, 'packet filter loaded');
    throwIfAborted(signal);
    const index = ensureBridge(routes, names.bridge, { mac: pool.gatewayMac, mtu: MTU });
    await applyInterfaceSettings(names.bridge, log);
    plugIntoBridge(routes, deviceIndex(routes, names.keeper), index); // before the bridge is up: see DeviceNames.keeper
    bringUpWithAddress(routes, index, pool.gateway, pool.subnet.prefixLength);
    return index;
  } catch (error) {
    // Over a bridge that was there before, instances may be running: what they use stays.
    if (existing === undefined) await removeQuietly(parts);
    throw error;
  }
}

/** Looked at between the steps; none of them takes long. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new Aborted('setting up the network was cancelled', { reason: 'CANCELLED', cause: signal.reason });
}

/** Takes the bridge and the filter away. */
export async function removeBridge({ names, routes, load }: BridgeParts): Promise<void> {
  const index = findDevice(routes, names.bridge);
  if (index !== undefined) deleteDevice(routes, index);
  await load(removeFilter(names));
}

/** After a failure, whose error is the one to report. */
async function removeQuietly(parts: BridgeParts): Promise<void> {
  try {
    await removeBridge(parts);
  } catch (error) {
    parts.log.warn({ err: error, bridge: parts.names.bridge }, 'half-made network not removed');
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
