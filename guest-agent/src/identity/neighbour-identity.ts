import type { ForkIdentity } from './fork-identity.js';

/**
 * Somebody on the same network who differs from `present` in all that a fork differs in from its source: what is made of it
 * takes the kernel the same way, which an identity that is in force already does not.
 */
export function neighbourOf(present: ForkIdentity): ForkIdentity {
  const { mac, ipv4, prefixLength, gateway, hostname, machineId } = present;
  return {
    mac: mac.replace(/.$/, otherDigit),
    ipv4: otherHost(ipv4, prefixLength, gateway),
    prefixLength,
    gateway,
    ...(hostname === undefined ? {} : { hostname: hostname === OTHER_NAME ? `${OTHER_NAME}-2` : OTHER_NAME }),
    ...(machineId === undefined ? {} : { machineId: machineId.replace(/.$/, otherDigit) }),
  };
}

const OTHER_NAME = 'rehearsal';

/** Never turns an id that is not all zeros into one that is: 0 and 1 become each other, and all else becomes 1. */
const otherDigit = (digit: string): string => (digit === '1' ? '2' : '1');

/** The first address of the network that is a host's and nobody's here; the own one in a network of 30 bits, which has but two. */
function otherHost(ipv4: string, prefixLength: number, gateway: string): string {
  const size = 2 ** (32 - prefixLength);
  const own = numberOf(ipv4);
  const first = own - (own % size) + 1;
  const hosts = [0, 1, 2].filter((n) => n < size - 2).map((n) => textOf(first + n));
  const free = hosts.find((address) => address !== ipv4 && address !== gateway);
  return free ?? ipv4;
}

const numberOf = (ipv4: string): number => ipv4.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
const textOf = (value: number): string => [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
