/** Raw frames as a guest would send them. MACs and addresses are text; multi-byte fields are big-endian on the wire. */
export interface Station {
  readonly mac: string;
  readonly ipv4: string;
}

/** What precedes each frame on a TAP opened with IFF_VNET_HDR; all zeros: nothing left to the receiver. */
const VIRTIO_NET_HEADER = Buffer.alloc(10);
const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100 } as const;

const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
const ip = (text: string): Buffer => Buffer.from(text.split('.').map(Number));
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);

function ethernet(from: string, to: string, type: number, body: Buffer): Buffer {
  return Buffer.concat([VIRTIO_NET_HEADER, mac(to), mac(from), u16(type), body]);
}

function internetChecksum(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function ipv4(from: string, to: string, protocol: number, body: Buffer): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt8(0x45, 0);
  header.writeUInt16BE(20 + body.length, 2);
  header.writeUInt8(64, 8);
  header.writeUInt8(protocol, 9);
  ip(from).copy(header, 12);
  ip(to).copy(header, 16);
  header.writeUInt16BE(internetChecksum(header), 10);
  return Buffer.concat([header, body]);
}

/** UDP without a checksum (0: none, RFC 768). `vlan` adds a tag. */
export function udpFrame(
  from: Station,
  to: Station & { readonly port: number },
  text: string,
  options: { readonly vlan?: number } = {},
): Buffer {
  const datagram = Buffer.concat([u16(4000), u16(to.port), u16(8 + text.length), u16(0), Buffer.from(text)]);
  const packet = ipv4(from.ipv4, to.ipv4, 17, datagram);
  if (options.vlan === undefined) return ethernet(from.mac, to.mac, ETHERTYPE.ipv4, packet);
  return ethernet(from.mac, to.mac, ETHERTYPE.vlan, Buffer.concat([u16(options.vlan), u16(ETHERTYPE.ipv4), packet]));
}

/** `outer` is the source in the Ethernet header where that differs from the sender inside. */
export function arpFrame(
  operation: 'request' | 'reply',
  sender: Station,
  target: string,
  options: { readonly outer?: string; readonly to?: string } = {},
): Buffer {
  const body = Buffer.concat([
    Buffer.from('000108000604', 'hex'),
    u16(operation === 'request' ? 1 : 2),
    mac(sender.mac),
    ip(sender.ipv4),
    mac('00:00:00:00:00:00'),
    ip(target),
  ]);
  return ethernet(options.outer ?? sender.mac, options.to ?? 'ff:ff:ff:ff:ff:ff', ETHERTYPE.arp, body);
}

/** A router advertisement in outline; it is dropped by its type, long before anybody reads further. */
export function ipv6Frame(from: Station, to: string): Buffer {
  return ethernet(from.mac, to, 0x86dd, Buffer.from('6000000000003aff', 'hex'));
}

/** What a guest reads from its card, as far as the tests care. */
export type Received =
  | { readonly kind: 'arp'; readonly operation: number; readonly sender: string; readonly target: string }
  | { readonly kind: 'udp'; readonly to: string; readonly text: string }
  | { readonly kind: 'other'; readonly type: number };

export function parseFrame(bytes: Buffer): Received {
  const frame = bytes.subarray(VIRTIO_NET_HEADER.length);
  const type = frame.readUInt16BE(12);
  const body = frame.subarray(14);
  const dotted = (offset: number): string => [...body.subarray(offset, offset + 4)].join('.');
  if (type === ETHERTYPE.arp)
    return { kind: 'arp', operation: body.readUInt16BE(6), sender: dotted(14), target: dotted(24) };
  if (type === ETHERTYPE.ipv4 && body.readUInt8(9) === 17)
    return {
      kind: 'udp',
      to: frame.toString('hex', 0, 6),
      text: body.toString('latin1', 28, 20 + body.readUInt16BE(24)),
    };
  return { kind: 'other', type };
}
