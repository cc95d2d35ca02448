import { asKeeper } from '../network/host/as-keeper.js';
import { deviceNames } from '../network/host/device-names.js';
import { replaceOpenPorts } from '../network/host/guest-filter.js';
import { removeBridge, setUpBridge, type BridgeParts } from '../network/host/host-bridge.js';
import { IdentityPool } from '../network/host/identity-pool.js';
import { loadRuleset } from '../network/host/nft.js';
import { makeKeptKeeper, makeSlotTaps, removeKeptTaps } from '../network/host/slot-taps.js';
import { RouteSocket } from '../os/rtnetlink.js';
import type { Configuration } from './configuration.js';
import type { NetworkDeed } from './grammar.js';
import { portsOf, subnetOf } from './network-operands.js';

/** Whose network, and by what. */
export interface DeedParts {
  readonly configuration: Configuration;
  /** User id of the daemon, who may open the TAPs. */
  readonly owner: number;
  /** Folders that nft is looked for in. */
  readonly programs: readonly string[];
  /** A setting of the bridge that the kernel did not take; the packet filter holds without it. */
  readonly warn: (message: string, details: object) => void;
}

interface Workshop extends BridgeParts {
  readonly pool: IdentityPool;
  readonly owner: number;
}

const DEEDS: Readonly<Record<NetworkDeed, (workshop: Workshop, args: readonly string[]) => unknown>> = {
  'make keeper': (workshop) => {
    asKeeper(() => {
      makeKeptKeeper(workshop, workshop.owner);
    });
  },
  'make bridge': (workshop) => setUpBridge(workshop, workshop.pool, []),
  'make taps': (workshop, args) => {
    const identities = Array.from({ length: Number(args.at(-1)) }, (_, slot) => workshop.pool.identityOf(slot));
    makeSlotTaps(workshop, identities, workshop.owner);
  },
  'open ports': ({ names, load }, args) => load(replaceOpenPorts(names, portsOf(args.at(-1) ?? ''))),
  'remove network': async (workshop) => {
    removeKeptTaps(workshop.routes, workshop.names);
    await removeBridge(workshop);
  },
};

/**
 * Does to the machine's network what a call asks for. What devices and tables are called, and which addresses they have, follows
 * from the configuration.
 * @param args as the grammar's operands gave them
 * @throws OffshootError, system errors
 */
export async function perform(deed: NetworkDeed, args: readonly string[], parts: DeedParts): Promise<void> {
  const { configuration, owner, programs, warn } = parts;
  const names = deviceNames(configuration.stateDirectory);
  using routes = new RouteSocket();
  const workshop: Workshop = {
    names,
    routes,
    pool: new IdentityPool(subnetOf(configuration), names.tap),
    owner,
    load: (ruleset) => loadRuleset(ruleset, programs.join(':')),
    log: {
      debug: () => undefined,
      warn: (details, message) => {
        warn(message, details);
      },
    },
  };
  await DEEDS[deed](workshop, args);
}
