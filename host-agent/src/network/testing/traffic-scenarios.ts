import { arpFrame, ipv6Frame, udpFrame } from './ethernet-frames.js';
import { HostSocket, TestGuest, hostState } from './host-state.js';
import { ELSEWHERE, GATEWAY, withNetwork } from './scenario-tools.js';
import { asRoot } from './scenario-world.js';

/** What guests send to whom, and what of it arrives. */
export const TRAFFIC_SCENARIOS = {
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
} satisfies Record<string, (directory: string) => Promise<unknown>>;
