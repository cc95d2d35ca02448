import { geteuid } from 'node:process';

/**
 * Starts a program in a network namespace of its own where that is possible (as root): its bridge, addresses and rules are
 * then nobody else's, and go with the last process in it.
 */
export const privateNetwork = (): readonly string[] =>
  geteuid?.() === 0 ? ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'private-network'] : [];
