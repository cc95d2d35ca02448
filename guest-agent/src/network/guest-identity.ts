import { InvalidInput } from '@offshoot/shared/errors.js';

/** What a fork is on its network. */
export interface GuestIdentity {
  /** Lower case, colons, unicast. */
  readonly mac: string;
  readonly ipv4: string;
  readonly prefixLength: number;
  readonly gateway: string;
}

const KEYS = ['mac', 'ipv4', 'prefixLength', 'gateway'] as const;
const OCTET = '(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/;

const numberOf = (ipv4: string): number => ipv4.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
const networkOf = (ipv4: string, prefixLength: number): number => Math.floor(numberOf(ipv4) / 2 ** (32 - prefixLength));

const refuse = (field: string, expectation: string): InvalidInput =>
  InvalidInput.field(field, expectation, 'NETWORK_IDENTITY_MALFORMED');

/** Parses exactly what the host may send: these keys, these forms, nothing else. @throws InvalidInput naming the field */
export function parseGuestIdentity(value: unknown): GuestIdentity {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw refuse('identity', 'must be an object');
  const fields = new Map<string, unknown>(Object.entries(value));
  for (const key of fields.keys())
    if (!(KEYS as readonly string[]).includes(key)) throw refuse(JSON.stringify(key).slice(0, 80), 'is not known');
  const [mac, ipv4, prefixLength, gateway] = KEYS.map((key) => fields.get(key));
  if (typeof mac !== 'string' || !MAC.test(mac) || Number(`0x${mac.slice(0, 2)}`) % 2 === 1 || /^[0:]+$/.test(mac))
    throw refuse('mac', 'must be a unicast address, six pairs of lower-case hex digits with colons');
  if (typeof ipv4 !== 'string' || !IPV4.test(ipv4) || !isHost(ipv4)) throw refuse('ipv4', 'must be a host address');
  if (typeof prefixLength !== 'number' || !Number.isInteger(prefixLength) || prefixLength < 1 || prefixLength > 30)
    throw refuse('prefixLength', 'must be a whole number from 1 to 30');
  if (typeof gateway !== 'string' || !IPV4.test(gateway) || gateway === ipv4)
    throw refuse('gateway', 'must be an address other than ipv4');
  if (networkOf(gateway, prefixLength) !== networkOf(ipv4, prefixLength))
    throw refuse('gateway', 'must be in the network of ipv4');
  return { mac, ipv4, prefixLength, gateway };
}

/** Not in 0/8, not loopback, neither multicast nor reserved. */
function isHost(ipv4: string): boolean {
  const first = Number(ipv4.split('.')[0]);
  return first !== 0 && first !== 127 && first < 224;
}
