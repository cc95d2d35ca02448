import { SystemError, AF_INET, ioctl } from './libc.js';
import { attribute, nested, NLM_F_CREATE, NLM_F_REPLACE, readAttributes, RouteSocket } from './rtnetlink.js';
import type { RouteMessage } from './rtnetlink.js';
import { IFREQ_BYTES, IFREQ_UNION, MAX_DEVICE_NAME } from './tun.js';

/** Network devices of the host, by rtnetlink. Numbers: linux/if_link.h, if_addr.h, neighbour.h, rtnetlink.h. */
const SIOCGIFNAME = 0x8910;
const SIOCGIFINDEX = 0x8933;
const AF_UNSPEC = 0;
const AF_BRIDGE = 7;
const AF_INET6 = 10;
const IFF_UP = 0x01;
const IFF_NOARP = 0x80;

const LINK = {
  address: 1,
  name: 3,
  mtu: 4,
  master: 10,
  portInfo: 12,
  info: 18,
  familySpecific: 26,
  group: 27,
} as const;
const LINK_INFO = { kind: 1, data: 2 } as const;
const BRIDGE = { stpState: 5, groupForwardMask: 9, multicastSnooping: 23 } as const;
const PORT = { learning: 8, unicastFlood: 9, multicastFlood: 27, broadcastFlood: 30, isolated: 33 } as const;
const INET6_ADDRESS_GENERATION = 8;
const ADDRESS_GENERATION_NONE = 1;
const ADDRESS = { address: 1, local: 2, broadcast: 4 } as const;
const NEIGHBOUR = { destination: 1, linkAddress: 2 } as const;
const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;
const NTF_MASTER = 0x04;
const ROUTE = { destination: 1, outputDevice: 4 } as const;

/** What a kernel without IPv6, or too old for the setting, answers to a setting that only silences IPv6. */
const NO_IPV6 = ['EAFNOSUPPORT', 'EOPNOTSUPP', 'EINVAL', 'ENODEV'] as const;

const u8 = (value: number): Buffer => Buffer.from([value]);
const u16 = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);
const ipv4Bytes = (address: string): Buffer => Buffer.from(address.split('.').map(Number));
const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');

/** `struct ifinfomsg` and attributes. */
function link(family: number, index: number, attributes: readonly Buffer[], raiseFlags = 0): Buffer {
  const fixed = Buffer.alloc(16);
  fixed.writeUInt8(family, 0);
  fixed.writeInt32LE(index, 4);
  fixed.writeUInt32LE(raiseFlags, 8);
  fixed.writeUInt32LE(raiseFlags, 12);
  return Buffer.concat([fixed, ...attributes]);
}

/** `struct ifaddrmsg` and attributes. */
function address(index: number, prefixLength: number, attributes: readonly Buffer[]): Buffer {
  const fixed = Buffer.alloc(8);
  fixed.writeUInt8(AF_INET, 0);
  fixed.writeUInt8(prefixLength, 1);
  fixed.writeUInt32LE(index, 4);
  return Buffer.concat([fixed, ...attributes]);
}

/** `struct ndmsg` and attributes. */
function neighbour(family: number, index: number, state: number, flags: number, attributes: readonly Buffer[]): Buffer {
  const fixed = Buffer.alloc(12);
  fixed.writeUInt8(family, 0);
  fixed.writeInt32LE(index, 4);
  fixed.writeUInt16LE(state, 8);
  fixed.writeUInt8(flags, 10);
  return Buffer.concat([fixed, ...attributes]);
}

/** The device gives itself no IPv6 address, so that it never speaks of its own accord. */
const withoutIpv6Address = (index: number): RouteMessage => ({
  type: 'setLink',
  body: link(AF_UNSPEC, index, [
    nested(LINK.familySpecific, [nested(AF_INET6, [attribute(INET6_ADDRESS_GENERATION, u8(ADDRESS_GENERATION_NONE))])]),
  ]),
  tolerate: NO_IPV6,
});

/** Index of a device. @throws SystemError, ENODEV when there is none of that name */
export function deviceIndex(routes: RouteSocket, name: string): number {
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(name, 0, MAX_DEVICE_NAME, 'latin1');
  ioctl(routes.fd, SIOCGIFINDEX, request);
  return request.readInt32LE(IFREQ_UNION);
}

/** Index of a device; undefined when there is none of that name. */
export function findDevice(routes: RouteSocket, name: string): number | undefined {
  try {
    return deviceIndex(routes, name);
  } catch (error) {
    if (error instanceof SystemError && error.code === 'ENODEV') return undefined;
    throw error;
  }
}

/** Name of a device; its index in words when it has just gone. */
export function deviceName(routes: RouteSocket, index: number): string {
  const request = Buffer.alloc(IFREQ_BYTES);
  request.writeInt32LE(index, IFREQ_UNION);
  try {
    ioctl(routes.fd, SIOCGIFNAME, request);
  } catch {
    return `device ${String(index)}`;
  }
  return request.toString('latin1', 0, request.indexOf(0));
}

/**
 * Makes the bridge, or brings the one of that name to the same settings; its ports stay. It is left down. It has a MAC of
 * its own so that it does not take a port's, and keeps it over restarts: guests wake with it in their neighbour tables.
 * The MTU is set because a bridge whose MTU nobody set follows its ports.
 */
export function ensureBridge(routes: RouteSocket, name: string, settings: { mac: string; mtu: number }): number {
  const data = [
    attribute(BRIDGE.stpState, 0),
    attribute(BRIDGE.groupForwardMask, u16(0)),
    attribute(BRIDGE.multicastSnooping, u8(0)),
  ];
  routes.request([
    {
      type: 'newLink',
      flags: NLM_F_CREATE,
      body: link(AF_UNSPEC, 0, [
        attribute(LINK.name, name),
        attribute(LINK.address, macBytes(settings.mac)),
        attribute(LINK.mtu, settings.mtu),
        attribute(LINK.info, [attribute(LINK_INFO.kind, 'bridge'), attribute(LINK_INFO.data, data)]),
      ]),
    },
  ]);
  const index = deviceIndex(routes, name);
  routes.request([withoutIpv6Address(index)]);
  return index;
}

/** Gives the device this IPv4 address and no other, and brings it up. */
export function bringUpWithAddress(routes: RouteSocket, index: number, ipv4: string, prefixLength: number): void {
  const wanted = ipv4Bytes(ipv4);
  const others = routes.dump({ type: 'getAddresses', body: address(0, 0, []) }).filter((body) => {
    if (body.readUInt32LE(4) !== index || body.readUInt8(0) !== AF_INET) return false;
    return body.readUInt8(1) !== prefixLength || readAttributes(body, 8).get(ADDRESS.local)?.equals(wanted) !== true;
  });
  const broadcast = Buffer.alloc(4);
  broadcast.writeUInt32BE((wanted.readUInt32BE() | (2 ** (32 - prefixLength) - 1)) >>> 0);
  routes.request([
    ...others.map((body): RouteMessage => ({ type: 'deleteAddress', body })),
    {
      type: 'newAddress',
      flags: NLM_F_CREATE | NLM_F_REPLACE,
      body: address(index, prefixLength, [
        attribute(ADDRESS.local, wanted),
        attribute(ADDRESS.address, wanted),
        attribute(ADDRESS.broadcast, broadcast),
      ]),
    },
    { type: 'setLink', body: link(AF_UNSPEC, index, [], IFF_UP) },
  ]);
}

/**
 * Plugs a device that is down into the bridge as a closed port, then brings it up. Closed: it exchanges frames with the
 * host only, learns no addresses, and gets nothing that is not addressed to it (no flooding: an unknown address would
 * otherwise carry one guest's frames to all, and a broadcast of the host would wake every guest). The device itself does
 * no ARP: frames to the LLDP address are handed to it past the bridge and its packet filter.
 * `station` is the one machine behind the port: its place on the bridge and its address are entered for good, so that
 * neither side has to ask for it.
 */
export function plugIntoBridge(
  routes: RouteSocket,
  device: number,
  bridge: number,
  station?: { readonly mac: string; readonly ipv4: string },
): void {
  const off = u8(0);
  const messages: RouteMessage[] = [
    withoutIpv6Address(device),
    { type: 'setLink', body: link(AF_UNSPEC, device, [attribute(LINK.master, bridge)]) },
    {
      type: 'setLink',
      body: link(AF_BRIDGE, device, [
        nested(LINK.portInfo, [
          attribute(PORT.isolated, u8(1)),
          attribute(PORT.learning, off),
          attribute(PORT.unicastFlood, off),
          attribute(PORT.multicastFlood, off),
          attribute(PORT.broadcastFlood, off),
        ]),
      ]),
    },
  ];
  if (station !== undefined) {
    const mac = macBytes(station.mac);
    const linkAddress = attribute(NEIGHBOUR.linkAddress, mac);
    const destination = attribute(NEIGHBOUR.destination, ipv4Bytes(station.ipv4));
    const flags = NLM_F_CREATE | NLM_F_REPLACE;
    messages.push(
      { type: 'newNeighbour', flags, body: neighbour(AF_BRIDGE, device, NUD_NOARP, NTF_MASTER, [linkAddress]) },
      { type: 'newNeighbour', flags, body: neighbour(AF_INET, bridge, NUD_PERMANENT, 0, [destination, linkAddress]) },
    );
  }
  messages.push({ type: 'setLink', body: link(AF_UNSPEC, device, [], IFF_UP | IFF_NOARP) });
  routes.request(messages);
}

/** Removes a device; one that is gone already is removed. */
export function deleteDevice(routes: RouteSocket, index: number): void {
  routes.request([{ type: 'deleteLink', body: link(AF_UNSPEC, index, []), tolerate: ['ENODEV'] }]);
}

/** Puts a device into a group. */
export function setGroup(routes: RouteSocket, index: number, group: number): void {
  routes.request([{ type: 'setLink', body: link(AF_UNSPEC, index, [attribute(LINK.group, group)]) }]);
}

/** Removes all devices of a group at once; none is success. */
export function deleteGroup(routes: RouteSocket, group: number): void {
  const body = link(AF_UNSPEC, 0, [attribute(LINK.group, group)]);
  routes.request([{ type: 'deleteLink', body, tolerate: ['ENODEV'] }]);
}

/** Index of the bridge that a device is plugged into; undefined for none. Needs no rights. @throws SystemError */
export function bridgeOf(routes: RouteSocket, device: number): number | undefined {
  const body = routes.get({ type: 'getLink', body: link(AF_UNSPEC, device, []) });
  return readAttributes(body, 16).get(LINK.master)?.readUInt32LE(0);
}

export interface Ipv4Route {
  /** Dotted. */
  readonly destination: string;
  readonly prefixLength: number;
  /** Undefined where there is none (blackhole) or more than one (multipath). */
  readonly device: number | undefined;
}

/** IPv4 routes of all tables, the host's own addresses among them as routes of length 32 in the table `local`. */
export function ipv4Routes(routes: RouteSocket): Ipv4Route[] {
  const all = Buffer.alloc(12);
  all.writeUInt8(AF_INET, 0);
  return routes.dump({ type: 'getRoutes', body: all }).map((body) => {
    const attributes = readAttributes(body, 12);
    return {
      destination: [...(attributes.get(ROUTE.destination) ?? Buffer.alloc(4))].join('.'),
      prefixLength: body.readUInt8(1),
      device: attributes.get(ROUTE.outputDevice)?.readInt32LE(0),
    };
  });
}
