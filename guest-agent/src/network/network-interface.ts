import { SystemError, ioctl, mapPages, openControlSocket } from '../os/libc.js';
import type { GuestIdentity } from './guest-identity.js';

/** Requests of linux/sockios.h. */
const SIOCADDRT = 0x890b;
const SIOCDELRT = 0x890c;
const SIOCGIFCONF = 0x8912;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCSIFADDR = 0x8916;
const SIOCSIFNETMASK = 0x891c;
const SIOCSIFHWADDR = 0x8924;

const IFF_UP = 1;
const RTF_UP = 1;
const RTF_GATEWAY = 2;
const AF_INET = 2;
const ARPHRD_ETHER = 1;

/** struct ifreq: name (16), then a union whose sockaddr_in has its address at 4. */
const IFREQ_SIZE = 40;
const IFREQ_UNION = 16;
const ADDRESS_IN_SOCKADDR = 4;
/** struct rtentry: destination, gateway, mask (sockaddr each), flags, device name. */
const RTENTRY_SIZE = 120;
const RTENTRY = { destination: 8, gateway: 24, mask: 40, flags: 56, device: 88 } as const;

/** Addresses one interface can have before we stop counting. */
const MAX_ADDRESSES = 64;
/** Places in the scratch page, for what a request points to. */
const SCRATCH = { list: 0, device: MAX_ADDRESSES * IFREQ_SIZE } as const;
const MAX_DEFAULT_ROUTES = 16;

function request(name: string): Buffer {
  const ifreq = Buffer.alloc(IFREQ_SIZE);
  ifreq.write(name, 0, IFREQ_UNION - 1, 'latin1');
  return ifreq;
}

function writeAddress(into: Buffer, offset: number, ipv4: string): void {
  into.writeUInt16LE(AF_INET, offset);
  ipv4.split('.').forEach((octet, i) => into.writeUInt8(Number(octet), offset + ADDRESS_IN_SOCKADDR + i));
}

const maskOf = (prefixLength: number): string => {
  const mask = (0xffff_ffff << (32 - prefixLength)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (mask >>> shift) & 0xff).join('.');
};

/**
 * An Ethernet interface, changed by ioctls alone: no process is spawned (three `ip` cost 380-470 ms under emulation) and
 * the link stays up (down and up makes the kernel drop the next datagrams without an error).
 */
export class NetworkInterface {
  private readonly control = openControlSocket();
  /** Memory with a known address: two of the requests hold pointers. */
  private readonly scratch = mapPages(4096);

  constructor(private readonly name: string) {
    this.scratch.bytes.write(`${name}\0`, SCRATCH.device, 'latin1');
  }

  /**
   * Gives the interface this identity and no other: MAC, one IPv4 address, connected and default route. Setting the MAC,
   * also to what it was, makes the kernel forget all neighbours of the interface.
   * @throws SystemError
   */
  apply(identity: GuestIdentity): void {
    this.setMac(identity.mac);
    const [first, ...others] = this.addresses();
    // Taking the last address away flushes the interface's routes; setting the address it has changes nothing at all.
    const kept = others.length === 0 && first?.label === this.name && first.ipv4 === identity.ipv4;
    for (const { label } of others) this.setAddress(label, '0.0.0.0');
    if (first !== undefined && first.label !== this.name) this.setAddress(first.label, '0.0.0.0');
    this.setAddress(this.name, identity.ipv4);
    const mask = request(this.name);
    writeAddress(mask, IFREQ_UNION, maskOf(identity.prefixLength));
    ioctl(this.control, SIOCSIFNETMASK, mask);
    if (kept) this.removeDefaultRoutes();
    this.addDefaultRoute(identity.gateway);
  }

  /** IPv4 addresses of the interface with their labels (`eth0`, `eth0:1`), the primary one first. */
  private addresses(): { label: string; ipv4: string }[] {
    const list = this.scratch.bytes.subarray(SCRATCH.list, MAX_ADDRESSES * IFREQ_SIZE);
    const ifconf = Buffer.alloc(16);
    ifconf.writeInt32LE(list.length, 0);
    ifconf.writeBigUInt64LE(this.scratch.address + BigInt(SCRATCH.list), 8);
    ioctl(this.control, SIOCGIFCONF, ifconf);
    const found: { label: string; ipv4: string }[] = [];
    for (let at = 0; at < ifconf.readInt32LE(0); at += IFREQ_SIZE) {
      const label = list.toString('latin1', at, at + IFREQ_UNION).replace(/\0.*$/s, '');
      const address = list.subarray(at + IFREQ_UNION + ADDRESS_IN_SOCKADDR).subarray(0, 4);
      if (label === this.name || label.startsWith(`${this.name}:`)) found.push({ label, ipv4: address.join('.') });
    }
    return found;
  }

  private setMac(mac: string): void {
    const ifreq = request(this.name);
    ifreq.writeUInt16LE(ARPHRD_ETHER, IFREQ_UNION);
    Buffer.from(mac.replaceAll(':', ''), 'hex').copy(ifreq, IFREQ_UNION + 2);
    ioctl(this.control, SIOCSIFHWADDR, ifreq);
  }

  /** Replaces the first address with this label; 0.0.0.0 takes it away. */
  private setAddress(label: string, ipv4: string): void {
    const ifreq = request(label);
    writeAddress(ifreq, IFREQ_UNION, ipv4);
    try {
      ioctl(this.control, SIOCSIFADDR, ifreq);
    } catch (error) {
      // Secondary addresses go with their primary one.
      if (ipv4 === '0.0.0.0' && hasCode(error, 'EADDRNOTAVAIL')) return;
      throw error;
    }
  }

  private bringUp(): void {
    const ifreq = request(this.name);
    ioctl(this.control, SIOCGIFFLAGS, ifreq);
    ifreq.writeUInt16LE(ifreq.readUInt16LE(IFREQ_UNION) | IFF_UP, IFREQ_UNION);
    ioctl(this.control, SIOCSIFFLAGS, ifreq);
  }

  private removeDefaultRoutes(): void {
    for (let i = 0; i < MAX_DEFAULT_ROUTES; i++) {
      try {
        ioctl(this.control, SIOCDELRT, this.defaultRoute(RTF_UP));
      } catch (error) {
        if (hasCode(error, 'ESRCH')) return;
        throw error;
      }
    }
  }

  private addDefaultRoute(gateway: string): void {
    const route = this.defaultRoute(RTF_UP | RTF_GATEWAY);
    writeAddress(route, RTENTRY.gateway, gateway);
    try {
      ioctl(this.control, SIOCADDRT, route);
    } catch (error) {
      if (!hasCode(error, 'ENETUNREACH', 'ENETDOWN')) throw error;
      this.bringUp(); // it was down when we were called
      ioctl(this.control, SIOCADDRT, route);
    }
  }

  private defaultRoute(flags: number): Buffer {
    const route = Buffer.alloc(RTENTRY_SIZE);
    writeAddress(route, RTENTRY.destination, '0.0.0.0');
    writeAddress(route, RTENTRY.mask, '0.0.0.0');
    route.writeUInt16LE(flags, RTENTRY.flags);
    route.writeBigUInt64LE(this.scratch.address + BigInt(SCRATCH.device), RTENTRY.device);
    return route;
  }
}

const hasCode = (error: unknown, ...codes: string[]): boolean =>
  error instanceof SystemError && codes.includes(error.code);
