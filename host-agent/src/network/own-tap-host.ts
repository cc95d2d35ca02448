import { closeSync } from 'node:fs';
import type { NetworkIdentity } from '../domain/network-identity.js';
import { deviceIndex, plugIntoBridge } from '../os/netdevice.js';
import { RouteSocket } from '../os/rtnetlink.js';
import { openTap } from '../os/tun.js';
import type { TapKind } from '../ports/driver.js';
import type { NicAttachment } from '../ports/network.js';
import { asKeeper } from './host/as-keeper.js';
import { replaceOpenPorts, type OpenPort } from './host/guest-filter.js';
import { removeBridge, setUpBridge, throwIfAborted, type BridgeParts } from './host/host-bridge.js';
import { networkDevices } from './host/network-devices.js';
import { loadRuleset } from './host/nft.js';
import { NamedTapAttachment, TapAttachment, removeKeptTap } from './tap-attachment.js';
import type { TapHost, TapHostOptions } from './tap-host.js';

/** For a daemon with CAP_NET_ADMIN: a TAP is made when an instance needs it, and goes with that. */
export class OwnTapHost implements TapHost {
  readonly keptTaps = 0;

  private constructor(
    private readonly parts: BridgeParts,
    private readonly bridge: number,
    private readonly keeper: number,
  ) {}

  /** @throws Unsupported saying which right or program is missing, or which route is in the way; Aborted; system errors */
  static async open({ names, pool, openPorts, logger }: TapHostOptions, signal?: AbortSignal): Promise<OwnTapHost> {
    throwIfAborted(signal);
    const keeper = asKeeper(() => openTap(names.keeper));
    const routes = new RouteSocket();
    const parts: BridgeParts = { names, routes, load: loadRuleset, log: logger };
    try {
      const host = new OwnTapHost(parts, await setUpBridge(parts, pool, openPorts, signal), keeper);
      // Of a daemon that was killed while a VMM was opening its own.
      for (const name of networkDevices()) if (name.startsWith(names.tapPrefix)) removeKeptTap(name);
      return host;
    } catch (error) {
      routes[Symbol.dispose]();
      closeSync(keeper);
      throw error;
    }
  }

  openTap(name: string): number {
    return openTap(name);
  }

  plug(descriptor: number, identity: NetworkIdentity & { readonly tap: string }, kind: TapKind): NicAttachment {
    const { routes } = this.parts;
    plugIntoBridge(routes, deviceIndex(routes, identity.tap), this.bridge, identity);
    return kind === 'tap' ? new TapAttachment(descriptor) : new NamedTapAttachment(descriptor, identity.tap);
  }

  async replaceOpenPorts(ports: readonly OpenPort[]): Promise<void> {
    await loadRuleset(replaceOpenPorts(this.parts.names, ports));
  }

  async close({ inUse }: { inUse: boolean }): Promise<void> {
    using _routes = this.parts.routes;
    closeSync(this.keeper);
    if (!inUse) await removeBridge(this.parts);
  }
}
