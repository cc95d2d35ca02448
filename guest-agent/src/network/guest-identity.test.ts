import { describe, expect, it } from 'vitest';
import { parseGuestIdentity } from './guest-identity.js';

const identity = { mac: '02:00:00:00:00:0a', ipv4: '10.1.2.3', prefixLength: 24, gateway: '10.1.2.1' };

describe('a network identity', () => {
  it('is taken when it is exactly one', () => {
    expect(parseGuestIdentity(identity)).toEqual(identity);
  });

  it.each([
    ['a multicast MAC', { mac: '03:00:00:00:00:0a' }],
    ['an all-zero MAC', { mac: '00:00:00:00:00:00' }],
    ['a MAC in capitals', { mac: '02:00:00:00:00:0A' }],
    ['an address with leading zeros', { ipv4: '10.1.2.03' }],
    ['an address out of range', { ipv4: '10.1.2.256' }],
    ['a loopback address', { ipv4: '127.0.0.1', gateway: '127.0.0.2' }],
    ['a multicast address', { ipv4: '224.0.0.5', gateway: '224.0.0.1' }],
    ['a prefix of 31', { prefixLength: 31 }],
    ['a prefix that is text', { prefixLength: '24' }],
    ['a gateway elsewhere', { gateway: '10.1.3.1' }],
    ['a gateway that is the guest itself', { gateway: '10.1.2.3' }],
    ['a missing field', { gateway: undefined }],
    ['a field nobody knows', { mtu: 1400 }],
  ])('is refused with %s', (_, changes) => {
    expect(() => parseGuestIdentity({ ...identity, ...changes })).toThrow(
      expect.objectContaining({ reason: 'NETWORK_IDENTITY_MALFORMED' }),
    );
  });

  it.each([[null], [[]], ['x'], [7]])('is refused when it is %j', (value) => {
    expect(() => parseGuestIdentity(value)).toThrow('must be an object');
  });
});
