import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { once } from 'node:events';
import pino from 'pino';
import { keepTap, openTap } from '../../os/tun.js';
import { openNetwork } from '../open-network.js';
import { udpFrame } from './ethernet-frames.js';
import { HostSocket, TestGuest, hostState } from './host-state.js';
import { GATEWAY, errorOf, options, outcomeOf, ports, withNetwork } from './scenario-tools.js';
import { allowSubnet, asRoot } from './scenario-world.js';

/** How the network comes and goes, and TAPs with it; each answers with plain data for the test to look at. */
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

  /** The kernel's settings cannot be written, as in a container. */
  async settingsReadOnly(directory: string) {
    await asRoot('mount', '--bind', '/proc/sys', '/proc/sys');
    await asRoot('mount', '-o', 'remount,bind,ro', '/proc/sys');
    const warnings: string[] = [];
    const logger = pino({ level: 'warn' }, { write: (line) => void warnings.push(line) });
    return await withNetwork(directory, ({ status: { mode } }) => Promise.resolve({ mode, warnings }), { logger });
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
