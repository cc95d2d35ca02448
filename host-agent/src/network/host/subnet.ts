import { InvalidInput } from '@offshoot/shared/errors.js';

/** An IPv4 network: `base` is its first address as an unsigned number. */
export interface Subnet {
  readonly cidr: string;
  readonly base: number;
  readonly prefixLength: number;
}

/** Longest prefix with room for the addresses that are kept free and some guests. */
const LONGEST_PREFIX = 28;
const SHORTEST_PREFIX = 16;

export const formatIpv4 = (address: number): string =>
  [24, 16, 8, 0].map((shift) => String((address >>> shift) & 0xff)).join('.');

/** @returns undefined unless `text` is four decimal numbers below 256 without leading zeros */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256))
    return undefined;
  return parts.reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** Number of addresses, network and broadcast address included. */
export const subnetSize = (prefixLength: number): number => 2 ** (32 - prefixLength);

/** Parses `10.213.0.0/20`. @throws InvalidInput for anything but a unicast network written with its first address */
export function parseSubnet(cidr: string): Subnet {
  const invalid = (what: string): InvalidInput =>
    InvalidInput.field('network.subnet', `${what}, got ${JSON.stringify(cidr)}`);
  const [text = '', prefix = '', ...rest] = cidr.split('/');
  const base = parseIpv4(text);
  const prefixLength = /^\d{1,2}$/.test(prefix) ? Number(prefix) : NaN;
  if (base === undefined || rest.length > 0 || !(prefixLength >= SHORTEST_PREFIX && prefixLength <= LONGEST_PREFIX))
    throw invalid(
      `must be an IPv4 network with a prefix of ${String(SHORTEST_PREFIX)} to ${String(LONGEST_PREFIX)}, like 10.213.0.0/20`,
    );
  const first = base - (base % subnetSize(prefixLength));
  if (base !== first)
    throw invalid(`must begin with the network's first address (${formatIpv4(first)}/${String(prefixLength)})`);
  const octet = base >>> 24;
  if (octet === 0 || octet === 127 || octet >= 224 || base >>> 16 === 0xa9fe)
    throw invalid('must be an ordinary unicast network (not 0/8, 127/8, 169.254/16, 224/3)');
  return { cidr, base, prefixLength };
}

/** Whether two networks share an address; of two CIDR blocks that do, one contains the other. */
export function overlaps(
  a: { readonly base: number; readonly prefixLength: number },
  b: { readonly base: number; readonly prefixLength: number },
): boolean {
  const size = subnetSize(Math.min(a.prefixLength, b.prefixLength));
  return Math.floor(a.base / size) === Math.floor(b.base / size);
}
