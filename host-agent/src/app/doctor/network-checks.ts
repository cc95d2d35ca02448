import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '@offshoot/shared/errors.js';
import { CAP_NET_ADMIN, hasCapability } from '../../os/capabilities.js';
import { findProgram } from '../../os/program-path.js';
import type { HelperAccess } from '../../ports/host-access.js';
import { fail, pass, warn, type Check } from './check.js';

const RIGHTS_REMEDY =
  'run the daemon as root or with CAP_NET_ADMIN, load the module tun, and install iproute2 and nftables';

const HELPER_REMEDY =
  'let the daemon open /dev/net/tun (chmod 666), install nftables, and name network_subnet in /etc/offshoot/privileged.json';

/** How instances are attached. */
export const NETWORK_CHECKS: readonly Check[] = [
  {
    name: 'network',
    run: ({ root, network: { status } }) => {
      const { mode, modeReason, bridge, subnet } = status;
      if (mode === 'tap') {
        if (devicesOf(root).has(bridge))
          return pass(`bridge ${bridge}, ${subnet}, each address locked to its instance`);
        return fail(
          `the bridge ${bridge} is gone: instances cannot be attached`,
          'restart the daemon, which makes it anew',
        );
      }
      if (modeReason === '') return pass(`user mode, as configured, ${subnet}: guests reach the host's loopback`);
      return warn(`user mode, because tap is not possible: ${modeReason}`, RIGHTS_REMEDY);
    },
  },
  {
    name: 'network-rights',
    run: async ({ root, network: { status }, helper }) => {
      if (status.mode === 'user' && status.modeReason === '') return pass('none are needed in user mode');
      const byHelper = helper !== undefined && !hasCapability(root, CAP_NET_ADMIN);
      const rights = byHelper ? await rightsByHelper(helper) : await ownRights(root);
      const missing = [...(canOpen(join(root, 'dev/net/tun')) ? [] : ['/dev/net/tun cannot be opened']), ...rights];
      if (missing.length === 0)
        return pass(
          byHelper ? '/dev/net/tun, and the privileged helper for the rest' : '/dev/net/tun, CAP_NET_ADMIN, nft',
        );
      const detail = missing.join(', ');
      const remedy = byHelper ? HELPER_REMEDY : RIGHTS_REMEDY;
      // The daemon had them when it started.
      if (status.mode === 'tap')
        return fail(
          `${detail}: ${byHelper ? 'the daemon cannot take the network down, nor start with it again' : 'the next instance cannot be attached'}`,
          remedy,
        );
      return warn(detail, remedy);
    },
  },
];

/** @returns what a daemon lacks that sets the network up itself */
const ownRights = async (root: string): Promise<string[]> => [
  ...(hasCapability(root, CAP_NET_ADMIN) ? [] : ['there is no CAP_NET_ADMIN']),
  ...((await findProgram('nft')) === undefined ? ['nft is not installed'] : []),
];

/** @returns what a daemon lacks for which the helper does that */
async function rightsByHelper(helper: HelperAccess): Promise<string[]> {
  try {
    const { capabilities } = await helper.probe();
    return capabilities.includes('network') ? [] : ['the privileged helper sets up no network'];
  } catch (error) {
    return [messageOf(error)];
  }
}

const devicesOf = (root: string): ReadonlySet<string> =>
  new Set(
    readFileSync(join(root, 'proc/self/net/dev'), 'latin1')
      .split('\n')
      .flatMap((line) => /^\s*([^:\s]+):/.exec(line)?.[1] ?? []),
  );

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
