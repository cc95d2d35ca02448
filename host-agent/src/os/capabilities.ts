import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Bits of a capability set (linux/capability.h). */
export const CAP_NET_ADMIN = 12n;
export const CAP_SYS_PTRACE = 19n;

/** Whether this process has a capability in force. */
export function hasCapability(root: string, capability: bigint): boolean {
  const status = readFileSync(join(root, 'proc/self/status'), 'latin1');
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> capability) & 1n) === 1n;
}
