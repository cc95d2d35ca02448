import { closeSync } from 'node:fs';
import { Unsupported } from '@offshoot/shared/errors.js';
import type { NetworkIdentity } from '../domain/network-identity.js';
import { bridgeOf, deviceIndex, findDevice } from '../os/netdevice.js';
import { PrivilegedProgramFailed, type PrivilegedClient } from '../os/privileged-client.js';
import { RouteSocket } from '../os/rtnetlink.js';
import { openOwnTap } from '../os/tun.js';
import type { TapKind } from '../ports/driver.js';
import type { NicAttachment } from '../ports/network.js';
import { asKeeper } from './host/as-keeper.js';
import type { DeviceNames } from './host/device-names.js';
import type { OpenPort } from './host/guest-filter.js';
import { throwIfAborted } from './host/host-bridge.js';
import { KeptTapAttachment, TapAttachment } from './tap-attachment.js';
import type { TapHost, TapHostOptions } from './tap-host.js';

/** Root's helper, for a daemon that is not root. */
export interface NetworkHelper {
  readonly client: PrivilegedClient;
  /** The daemon's: the helper has to be of the same. */
  readonly version: string;
  /** How many instances there can be at a time: as many TAPs are made. */
  readonly instances: number;
}

/**
 * For a daemon without rights: root's helper makes the TAPs of all slots once, for the daemon's user, which then opens them by
 * itself. So no instance waits for the helper.
 */
export class HelperTapHost implements TapHost {
  readonly keptTaps: number;

  private constructor(
    private readonly names: DeviceNames,
    private readonly routes: RouteSocket,
    private readonly helper: Commands,
    private readonly keeper: number,
    taps: number,
  ) {
    this.keptTaps = taps;
  }

  /**
   * @throws Unsupported with the reason the helper has, or why it is of no use; Unreachable when it does not run; Aborted;
   * system errors
   */
  static async open(
    { names, pool, openPorts, logger }: TapHostOptions,
    { client, version }: NetworkHelper,
    signal?: AbortSignal,
  ): Promise<HelperTapHost> {
    throwIfAborted(signal);
    await client.assertUsable(version, ['network']);
    const helper = new Commands(client, names);
    const routes = new RouteSocket();
    let keeper: number | undefined;
    const isNew = findDevice(routes, names.bridge) === undefined;
    let isBegun = false;
    try {
      await helper.makeKeeper();
      isBegun = true;
      // Held before it is plugged in: a bridge without a carrier loses what is sent (see DeviceNames.keeper).
      keeper = asKeeper(() => openOwnTap(names.keeper));
      for (const problem of await helper.makeBridge(pool.subnet.cidr))
        logger.warn({ problem }, 'kernel setting of the bridge not applied');
      logger.debug({ table: names.table }, 'packet filter loaded, bridge set up');
      throwIfAborted(signal);
      await helper.makeTaps(pool.subnet.cidr, pool.capacity);
      const host = new HelperTapHost(names, routes, helper, keeper, pool.capacity);
      if (openPorts.length > 0) await host.replaceOpenPorts(openPorts);
      return host;
    } catch (error) {
      if (keeper !== undefined) closeSync(keeper);
      // Over a bridge that was there before, instances may be running: what they use stays.
      if (isBegun && isNew)
        await helper.remove().catch((failure: unknown) => {
          logger.warn({ err: failure, bridge: names.bridge }, 'half-made network not removed');
        });
      routes[Symbol.dispose]();
      throw error;
    }
  }

  openTap(name: string): number {
    return openOwnTap(name);
  }

  plug(descriptor: number, identity: NetworkIdentity & { readonly tap: string }, kind: TapKind): NicAttachment {
    const bridge = deviceIndex(this.routes, this.names.bridge);
    if (bridgeOf(this.routes, deviceIndex(this.routes, identity.tap)) !== bridge)
      throw new Error('it is in another bridge, or in none');
    if (kind === 'tap') return new TapAttachment(descriptor);
    closeSync(descriptor);
    return new KeptTapAttachment(identity.tap);
  }

  async replaceOpenPorts(ports: readonly OpenPort[]): Promise<void> {
    await this.helper.openPorts(ports);
  }

  async close({ inUse }: { inUse: boolean }): Promise<void> {
    using _routes = this.routes;
    closeSync(this.keeper);
    if (!inUse) await this.helper.remove();
  }
}

/** The helper's commands for the network (privileged/grammar.ts), word by word. */
class Commands {
  constructor(
    private readonly client: PrivilegedClient,
    private readonly names: DeviceNames,
  ) {}

  async makeKeeper(): Promise<void> {
    await this.call('tap', 'create', this.names.keeper);
  }

  /** @returns what of the bridge's settings the kernel did not take, for people */
  async makeBridge(subnet: string): Promise<string[]> {
    return (await this.call('bridge', 'create', this.names.bridge, subnet)).split('\n').filter((line) => line !== '');
  }

  async makeTaps(subnet: string, count: number): Promise<void> {
    await this.call('tap', 'create', this.names.bridge, subnet, String(count));
  }

  async openPorts(ports: readonly OpenPort[]): Promise<void> {
    const list = ports.map(({ protocol, port }) => `${protocol}:${String(port)}`).join(',');
    await this.call('nftables', 'set', this.names.table, `open_ports=${list}`);
  }

  async remove(): Promise<void> {
    await this.call('bridge', 'delete', this.names.bridge);
  }

  /** @throws Unsupported as the daemon itself would where it is root */
  private async call(...words: readonly string[]): Promise<string> {
    try {
      return await this.client.call(words);
    } catch (error) {
      if (!(error instanceof PrivilegedProgramFailed)) throw error;
      const { reason, message } = error.failure ?? { reason: undefined, message: error.message };
      throw new Unsupported(message, { reason: reason ?? 'NETWORK_SETUP_FAILED', cause: error });
    }
  }
}
