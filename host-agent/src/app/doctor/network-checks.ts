import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../os/program-path.js';
import { fail, pass, warn, type Check } from './check.js';
import { CAP_NET_ADMIN, hasCapability } from './capabilities.js';

const RIGHTS_REMEDY =
  'run the daemon as root or with CAP_NET_ADMIN, load the module tun, and install iproute2 and nftables';

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
    run: async ({ root, network: { status } }) => {
      if (status.mode === 'user' && status.modeReason === '') return pass('none are needed in user mode');
      const missing = [
        ...(canOpen(join(root, 'dev/net/tun')) ? [] : ['/dev/net/tun cannot be opened']),
        ...(hasCapability(root, CAP_NET_ADMIN) ? [] : ['there is no CAP_NET_ADMIN']),
        ...((await findProgram('nft')) === undefined ? ['nft is not installed'] : []),
      ];
      if (missing.length === 0) return pass('/dev/net/tun, CAP_NET_ADMIN, nft');
      const detail = missing.join(', ');
      // The daemon had them when it started.
      if (status.mode === 'tap') return fail(`${detail}: the next instance cannot be attached`, RIGHTS_REMEDY);
      return warn(detail, RIGHTS_REMEDY);
    },
  },
];

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
