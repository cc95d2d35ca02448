import { pass, warn, type Check } from './check.js';

export const NETWORK_CHECK: Check = {
  name: 'network',
  run: ({ network: { status } }) => {
    const { mode, modeReason, bridge, subnet } = status;
    if (mode === 'tap') return pass(`bridge ${bridge}, ${subnet}, each address locked to its instance`);
    if (modeReason === '') return pass(`user mode, as configured, ${subnet}: guests reach the host's loopback`);
    return warn(
      `user mode, because tap is not possible: ${modeReason}`,
      'run the daemon as root or with CAP_NET_ADMIN, with iproute2 and nftables installed',
    );
  },
};
