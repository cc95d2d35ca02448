import { errnoOf } from '@offshoot/shared/errors.js';
import type { NetworkIdentity } from '../../domain/network-identity.js';
import { deleteGroup, deviceIndex, plugIntoBridge, setGroup } from '../../os/netdevice.js';
import type { RouteSocket } from '../../os/rtnetlink.js';
import { makeTapFor } from '../../os/tun.js';
import type { DeviceNames } from './device-names.js';

/**
 * Makes the TAPs of slots that stay, each plugged in and up, for a daemon that only may open them. What is there is brought to
 * the same; of one that a process has open nothing changes.
 * @param owner user id @throws system errors
 */
export function makeSlotTaps(
  { names, routes }: { readonly names: DeviceNames; readonly routes: RouteSocket },
  identities: Iterable<NetworkIdentity>,
  owner: number,
): void {
  const bridge = deviceIndex(routes, names.bridge);
  for (const identity of identities) {
    const name = names.tap(identity.slot);
    try {
      makeTapFor(name, owner);
    } catch (error) {
      if (errnoOf(error) !== 'EBUSY') throw error;
    }
    const index = deviceIndex(routes, name);
    setGroup(routes, index, names.group);
    plugIntoBridge(routes, index, bridge, identity);
  }
}

/** Makes the keeper so, not yet plugged in. @throws system errors; EBUSY when a process has it open */
export function makeKeptKeeper(
  { names, routes }: { readonly names: DeviceNames; readonly routes: RouteSocket },
  owner: number,
): void {
  makeTapFor(names.keeper, owner);
  setGroup(routes, deviceIndex(routes, names.keeper), names.group);
}

/** Removes all of them, the keeper included. */
export const removeKeptTaps = (routes: RouteSocket, { group }: DeviceNames): void => {
  deleteGroup(routes, group);
};
