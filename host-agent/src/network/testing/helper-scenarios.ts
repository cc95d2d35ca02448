import { closeSync } from 'node:fs';
import { errnoOf } from '@offshoot/shared/errors.js';
import { openTap } from '../../os/tun.js';
import { PrivilegedClient } from '../../os/privileged-client.js';
import { openNetwork } from '../open-network.js';
import { hostState } from './host-state.js';
import { allowSubnet, asRoot, helperOfWorld } from './scenario-world.js';
import { errorOf, options, ports, withNetwork } from './scenario-tools.js';

/** Scenarios of a process without rights that has root's helper. */
export const HELPER_SCENARIOS = {
  /** Who the process is, what rights it has, and what it could do without the helper. */
  async rights(directory: string) {
    const { mode, subnet, stateDirectory, logger } = options(directory);
    const alone = await errorOf(() => openNetwork({ mode, subnet, stateDirectory, logger }));
    return await withNetwork(directory, async (network) => {
      return {
        uid: process.geteuid?.(),
        alone,
        foreign: codeOf(() => openTap('oft-000000-0')),
        mode: network.status.mode,
        owner: await ownerOf(network.identityOf(0).tap),
      };
    });
  },

  /** TAPs beyond those of the slots, such as of a daemon with more of them. */
  async straysOfHelper(directory: string) {
    return await withNetwork(directory, async (network) => {
      const { capacity } = network.status;
      const beyond = String(network.identityOf(0).tap).replace(/0$/, String(capacity));
      await asRoot('ip', 'tuntap', 'add', beyond, 'mode', 'tap', 'user', String(process.geteuid?.()), 'vnet_hdr');
      const found = { unused: network.strayTaps(new Set()), used: network.strayTaps(new Set([capacity])) };
      network.removeStrayTap(beyond);
      return { beyond, ...found, removed: network.strayTaps(new Set()) };
    });
  },

  /** A hypervisor that was broken into lets its TAP go. */
  async tapUndone(directory: string) {
    const first = await openNetwork(options(directory));
    const identity = first.identityOf(3);
    closeSync(openTap(String(identity.tap)));
    const error = await errorOf(() => first.attach(identity, 'tap'));
    first.attach(first.identityOf(4), 'tap').close();
    await first.close({ inUse: true });
    return await withNetwork(directory, async (second) => {
      second.attach(identity, 'tap').close();
      return { error, after: await ports() };
    });
  },

  /** The administrator moves a TAP elsewhere. */
  async tapElsewhere(directory: string) {
    return await withNetwork(directory, async (network) => {
      const identity = network.identityOf(0);
      await asRoot('ip', 'link', 'set', String(identity.tap), 'nomaster');
      return await errorOf(() => network.attach(identity, 'tap'));
    });
  },

  /** Root allows another subnet, then none, and then sudo lets nobody. */
  async notAllowed(directory: string) {
    await allowSubnet('10.99.0.0/24');
    const otherSubnet = await errorOf(() => openNetwork(options(directory)));
    const auto = await openNetwork(options(directory, { mode: 'auto' }));
    const { helper } = helperOfWorld();
    if (helper === undefined) throw new Error('a world with a helper is needed');
    const otherVersion = await errorOf(() =>
      openNetwork(options(directory, { helper: { ...helper, version: `${helper.version}-other` } })),
    );
    const client = new PrivilegedClient(helper.client.helper, ['false']);
    const noSudo = await errorOf(() => openNetwork(options(directory, { helper: { ...helper, client } })));
    return { otherSubnet, auto: auto.status, otherVersion, noSudo, after: await hostState() };
  },
} satisfies Record<string, (directory: string) => Promise<unknown>>;

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return errnoOf(error);
  }
}

async function ownerOf(tap = ''): Promise<string> {
  return /user (\S+)/.exec(await asRoot('ip', '-d', '-o', 'link', 'show', tap))?.[1] ?? '';
}
