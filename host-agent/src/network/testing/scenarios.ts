import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { once } from 'node:events';
import { OffshootError } from '@offshoot/shared/errors.js';
import pino from 'pino';
import { keepTap, openTap } from '../../os/tun.js';
import type { Network } from '../../ports/network.js';
import { openNetwork, type NetworkOptions } from '../open-network.js';
import { arpFrame, ipv6Frame, udpFrame } from './ethernet-frames.js';
import { allowSubnet, asRoot, helperOfWorld } from './scenario-world.js';
import { HostSocket, TestGuest, hostState } from './host-state.js';

const SUBNET = '10.213.0.0/20';
export const GATEWAY = { mac: '02:4f:0a:d5:00:01', ipv4: '10.213.0.1' };
/** An address of the host that guests have no business with. */
const ELSEWHERE = '192.0.2.1';

export const options = (stateDirectory: string, more: Partial<NetworkOptions> = {}): NetworkOptions => ({
  mode: 'tap',
  subnet: SUBNET,
  stateDirectory,
  logger: pino({ level: 'silent' }),
  ...helperOfWorld(),
  ...more,
});

export interface Thrown {
  readonly kind: string;
  readonly reason: string;
  readonly message: string;
}

/** What an action throws; null where nothing. */
export async function outcomeOf(action: () => unknown): Promise<Thrown | null> {
  try {
    await action();
    return null;
  } catch (error) {
    if (error instanceof OffshootError) return { kind: error.kind, reason: error.reason, message: error.message };
    throw error;
  }
}

export async function errorOf(action: () => unknown): Promise<Thrown> {
  const outcome = await outcomeOf(action);
  if (outcome === null) throw new Error('no error');
  return outcome;
}

/** Index, name and master of the bridge and the TAPs of instances: `N: NAME: <...> ... master BRIDGE ...`. */
export async function ports(): Promise<string[]> {
  const stdout = await asRoot('ip', '-o', 'link');
  return stdout.split('\n').flatMap((line) => {
    const match = /^(\d+: of(?:br|t)-\S+):.*?(master \S+|$)/.exec(line);
    return match === null ? [] : [`${String(match[1])} ${String(match[2])}`.trim()];
  });
}

export async function withNetwork<Result>(
  stateDirectory: string,
  use: (network: Network) => Promise<Result>,
  more: Partial<NetworkOptions> = {},
): Promise<Result> {
  await asRoot('ip', 'link', 'set', 'lo', 'up');
  const network = await openNetwork(options(stateDirectory, more));
  try {
    return await use(network);
  } finally {
    await network.close({ inUse: false });
  }
}

/** What can be tried in a network namespace of one's own; each answers with plain data for the test to look at. */
export const SCENARIOS = {
  async lifecycle(directory: string) {
    const before = await hostState();
    const network = await openNetwork(options(directory));
    await network.openAckPort(4711);
    using nic = network.attach(network.identityOf(network.status.capacity - 1), 'tap');
    const during = await hostState();
    nic.close();
    await network.close({ inUse: false });
    return { before, during, after: await hostState(), status: network.status };
  },

  /** A daemon is killed while an instance runs, and another takes over. */
  async takeover(directory: string) {
    const first = await openNetwork(options(directory));
    const identity = first.identityOf(7);
    using nic = first.attach(identity, 'tap');
    const before = await ports();
    await first.close({ inUse: true });
    const between = await ports();
    return await withNetwork(directory, async (second) => {
      const ack = await HostSocket.bind(second.status.ackBindAddress);
      await second.openAckPort(ack.port);
      new TestGuest(nic).send(udpFrame(identity, { ...GATEWAY, port: ack.port }, 'still here'));
      return { before, between, after: await ports(), heard: await ack.close() };
    });
  },

  async newSubnet(directory: string) {
    await (await openNetwork(options(directory))).close({ inUse: true });
    await allowSubnet('10.99.0.0/24');
    return withNetwork(
      directory,
      async (network) => ({ addresses: (await hostState()).addresses, gateway: network.status.gateway }),
      { subnet: '10.99.0.0/24' },
    );
  },

  /** Sends everything a guest should not, then what it may. */
  async guestToHost(directory: string) {
    await asRoot('ip', 'address', 'add', `${ELSEWHERE}/32`, 'dev', 'lo');
    const extra = await HostSocket.bind('0.0.0.0');
    return withNetwork(
      directory,
      async (network) => {
        const ack = await HostSocket.bind(network.status.ackBindAddress);
        const elsewhere = await HostSocket.bind(ELSEWHERE, ack.port);
        const closed = await HostSocket.bind('0.0.0.0');
        await network.openAckPort(ack.port);
        const [own, other] = [network.identityOf(0), network.identityOf(1)];
        using nic = network.attach(own, 'tap');
        const guest = new TestGuest(nic);
        const to = { ...GATEWAY, port: ack.port };
        const refused = [
          udpFrame(other, to, 'as the other'),
          udpFrame({ ...own, mac: other.mac }, to, 'with the MAC of the other'),
          udpFrame({ ...own, ipv4: other.ipv4 }, to, 'with the address of the other'),
          udpFrame({ ...own, ipv4: ELSEWHERE }, to, 'with an address of the host'),
          udpFrame(
            { ...own, ipv4: '0.0.0.0' },
            { mac: 'ff:ff:ff:ff:ff:ff', ipv4: '255.255.255.255', port: 67 },
            'DHCP',
          ),
          udpFrame(own, { ...to, port: closed.port }, 'to a closed port'),
          udpFrame(own, { ...to, ipv4: ELSEWHERE }, 'to another address of the host'),
          udpFrame(own, { ...to, ipv4: '255.255.255.255' }, 'to everybody'),
          udpFrame(own, { ...to, mac: '01:80:c2:00:00:0e' }, 'round the bridge as LLDP'),
          udpFrame(own, { ...to, mac: '01:80:c2:00:00:03' }, 'round the bridge'),
          udpFrame(own, to, 'with a VLAN tag', { vlan: 5 }),
          ipv6Frame(own, '33:33:00:00:00:01'),
        ];
        for (const frame of refused) guest.send(frame);
        guest.send(udpFrame(own, { ...to, port: extra.port }, 'to a port of the configuration'));
        guest.send(udpFrame(own, to, 'to the ack port'));
        return {
          ack: await ack.close(),
          elsewhere: await elsewhere.close(),
          closed: await closed.close(),
          extra: await extra.close(),
        };
      },
      { openPorts: [{ protocol: 'udp', port: extra.port }] },
    );
  },

  async arp(directory: string) {
    await asRoot('ip', 'address', 'add', `${ELSEWHERE}/32`, 'dev', 'lo');
    return withNetwork(directory, async (network) => {
      const host = await HostSocket.bind(network.status.gateway);
      const [own, other] = [network.identityOf(0), network.identityOf(1)];
      using nic = network.attach(own, 'tap');
      const guest = new TestGuest(nic);
      const answers = async (...frames: Buffer[]): Promise<unknown> => {
        for (const frame of frames) guest.send(frame);
        await host.send('end', own.ipv4, 9); // its neighbour entry is there: no ARP of the host's own
        return (await guest.receiveUntil('end')).slice(0, -1);
      };
      const result = {
        own: await answers(arpFrame('request', own, GATEWAY.ipv4)),
        forged: await answers(
          arpFrame('request', other, GATEWAY.ipv4),
          arpFrame('request', { ...own, mac: other.mac }, GATEWAY.ipv4, { outer: own.mac }),
          arpFrame('request', own, GATEWAY.ipv4, { outer: other.mac }),
          arpFrame('request', { ...own, ipv4: other.ipv4 }, GATEWAY.ipv4),
        ),
        elsewhere: await answers(arpFrame('request', own, ELSEWHERE)),
        roundTheBridge: await answers(
          arpFrame('request', own, GATEWAY.ipv4, { to: '01:80:c2:00:00:03' }),
          arpFrame('request', own, GATEWAY.ipv4, { to: '01:80:c2:00:00:0e' }),
          arpFrame('request', own, ELSEWHERE, { to: '01:80:c2:00:00:0e' }),
        ),
        claim: await answers(
          arpFrame('reply', { mac: own.mac, ipv4: other.ipv4 }, GATEWAY.ipv4, { to: GATEWAY.mac }),
          arpFrame('reply', { mac: own.mac, ipv4: GATEWAY.ipv4 }, GATEWAY.ipv4),
        ),
        neighbours: (await hostState()).neighbours,
      };
      await host.close();
      return result;
    });
  },

  async guestToGuest(directory: string) {
    return withNetwork(directory, async (network) => {
      const host = await HostSocket.bind(network.status.gateway);
      const [a, b] = [network.identityOf(0), network.identityOf(1)];
      using nicA = network.attach(a, 'tap');
      using nicB = network.attach(b, 'tap');
      const [guestA, guestB] = [new TestGuest(nicA), new TestGuest(nicB)];
      await host.send('ready', b.ipv4, 9); // the way to its card is open: whatever is missing below was stopped
      await guestB.receiveUntil('ready');
      guestA.send(udpFrame(a, { ...b, port: 9 }, 'to its MAC'));
      guestA.send(udpFrame(a, { ...b, mac: 'ff:ff:ff:ff:ff:ff', port: 9 }, 'to all'));
      guestA.send(udpFrame(a, { ...b, mac: '01:00:5e:00:00:fb', port: 9 }, 'to a group'));
      guestA.send(udpFrame(a, { ...b, mac: GATEWAY.mac, port: 9 }, 'by way of the host'));
      guestA.send(arpFrame('request', a, b.ipv4));
      guestA.send(arpFrame('reply', { mac: a.mac, ipv4: GATEWAY.ipv4 }, b.ipv4, { to: b.mac }));
      await host.send('end', b.ipv4, 9);
      const received = await guestB.receiveUntil('end');
      await host.close();
      return { received, expectedMac: b.mac };
    });
  },

  /** A fork wakes on its own TAP, with its source's identity still in its memory. */
  async wakeAsSource(directory: string) {
    return withNetwork(directory, async (network) => {
      const ack = await HostSocket.bind(network.status.ackBindAddress);
      await network.openAckPort(ack.port);
      const [source, fork] = [network.identityOf(0), network.identityOf(1)];
      using sourceNic = network.attach(source, 'tap');
      using forkNic = network.attach(fork, 'tap');
      const [sourceGuest, forkGuest] = [new TestGuest(sourceNic), new TestGuest(forkNic)];
      const to = { ...GATEWAY, port: ack.port };
      forkGuest.send(udpFrame(source, to, 'fork as its source'));
      forkGuest.send(udpFrame({ ...fork, mac: source.mac }, to, 'fork half re-addressed'));
      forkGuest.send(udpFrame(fork, to, 'fork as itself'));
      sourceGuest.send(udpFrame(source, to, 'source as itself'));
      return await ack.close();
    });
  },

  /** A VMM is handed the TAP, outlives the daemon's own descriptor, and ends. */
  async heldByVmm(directory: string) {
    return withNetwork(directory, async (network) => {
      const identity = network.identityOf(0);
      const nic = network.attach(identity, 'tap');
      const { descriptor } = new TestGuest(nic);
      const vmm = spawn('cat', [], { stdio: ['pipe', 'ignore', 'inherit', descriptor] });
      nic.close();
      nic.close();
      const held = await ports();
      const busy = await errorOf(() => network.attach(identity, 'tap'));
      vmm.stdin?.end();
      await once(vmm, 'exit');
      const released = await ports();
      network.attach(identity, 'tap').close();
      return { held, busy, released };
    });
  },

  /** A TAP for a VMM that opens it by its name: here this process does. */
  async openedByName(directory: string) {
    return withNetwork(directory, async (network) => {
      const identity = network.identityOf(0);
      const unused = network.attach(identity, 'named-tap');
      const kept = await ports();
      unused.close();
      unused.close();
      const closed = await ports();
      const nic = network.attach(identity, 'named-tap');
      // Not yet open.
      const early = await outcomeOf(() => {
        nic.passTo(process.pid);
      });
      const { backend } = nic;
      const vmm = openTap(backend.kind === 'named-tap' ? backend.name : '');
      keepTap(vmm); // as it is for a VMM: opening it here has undone that
      nic.passTo(process.pid);
      nic.close();
      const busy = await errorOf(() => network.attach(identity, 'named-tap'));
      const held = await ports();
      closeSync(vmm);
      const released = await ports();
      return { kept, closed, early, busy, held, released, backend };
    });
  },

  /** TAPs that are no used slot's are found and removed, but for those a process has open. */
  async strays(directory: string) {
    return await withNetwork(directory, (network) => {
      const { tap = '' } = network.identityOf(7);
      const kept = openTap(tap);
      keepTap(kept);
      closeSync(kept);
      const found = { unused: network.strayTaps(new Set([8])), used: network.strayTaps(new Set([7])) };
      const held = openTap(tap);
      keepTap(held);
      network.removeStrayTap(tap);
      const whileOpen = network.strayTaps(new Set());
      closeSync(held);
      network.removeStrayTap(tap);
      network.removeStrayTap(tap); // missing is success
      return Promise.resolve({ tap, ...found, whileOpen, removed: network.strayTaps(new Set()) });
    });
  },

  /** What such a daemon leaves, its successor removes. */
  async leftByName(directory: string) {
    const left = await withNetwork(directory, (network) => {
      network.attach(network.identityOf(3), 'named-tap');
      return ports();
    });
    return { left, after: await withNetwork(directory, () => ports()) };
  },

  async foreignIdentity(directory: string) {
    return withNetwork(directory, async (network) => {
      const { tap, ...userModeIdentity } = network.identityOf(0);
      return [
        await errorOf(() => network.attach({ ...network.identityOf(0), slot: 2 }, 'tap')),
        await errorOf(() => network.attach({ ...network.identityOf(0), slot: 4000 }, 'tap')),
        await errorOf(() => network.attach(userModeIdentity, 'tap')),
        await errorOf(() => network.attach({ ...userModeIdentity, tap: `${String(tap)}0` }, 'tap')),
      ];
    });
  },

  async subnetTaken(directory: string) {
    await asRoot('ip', 'link', 'set', 'lo', 'up');
    await asRoot('ip', 'address', 'add', '10.213.8.1/24', 'dev', 'lo');
    const before = await hostState();
    const asked = await errorOf(() => openNetwork(options(directory)));
    const auto = await openNetwork(options(directory, { mode: 'auto' }));
    await auto.close({ inUse: false });
    return { asked, auto: auto.status, before, after: await hostState() };
  },

  async nftMissing(directory: string) {
    // In the test's own mount namespace.
    await asRoot('mount', '-t', 'tmpfs', 'none', '/usr/sbin');
    const asked = await errorOf(() => openNetwork(options(directory)));
    const { status } = await openNetwork(options(directory, { mode: 'auto' }));
    await asRoot('umount', '/usr/sbin');
    return { asked, auto: status, after: await hostState() };
  },

  /** Run by somebody who may not even list the rules. */
  async withoutRights(directory: string) {
    const asked = await errorOf(() => openNetwork(options(directory)));
    const auto = await openNetwork(options(directory, { mode: 'auto' }));
    return { asked, auto: auto.status };
  },

  async cancelled(directory: string) {
    const controller = new AbortController();
    const logger = pino(
      { level: 'debug' },
      {
        write: (line) => {
          if (line.includes('packet filter loaded')) controller.abort();
        },
      },
    );
    const error = await errorOf(() => openNetwork(options(directory, { mode: 'auto', logger }), controller.signal));
    return { error, after: await hostState() };
  },

  async bridgeTakenAway(directory: string) {
    const network = await openNetwork(options(directory));
    await asRoot('ip', 'link', 'delete', network.status.bridge);
    const error = await errorOf(() => network.attach(network.identityOf(0), 'tap'));
    await network.close({ inUse: false });
    return { error, after: await hostState() };
  },
} satisfies Record<string, (directory: string) => Promise<unknown>>;
