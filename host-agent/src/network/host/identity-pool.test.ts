import { InvalidInput } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { deviceNames } from './device-names.js';
import { IdentityPool } from './identity-pool.js';
import { parseSubnet } from './subnet.js';

const pool = (cidr: string): IdentityPool => new IdentityPool(parseSubnet(cidr), deviceNames('/state').tap);

describe('The pool of identities', () => {
  it('gives a slot always the same address, MAC and TAP', () => {
    expect(pool('10.213.0.0/20').identityOf(256)).toEqual({
      slot: 256,
      mac: '02:4f:0a:d5:01:05',
      ipv4: '10.213.1.5',
      prefixLength: 20,
      gateway: '10.213.0.1',
      tap: `${deviceNames('/state').tapPrefix}256`,
    });
    expect(pool('10.213.0.0/20').identityOf(256)).toEqual(pool('10.213.0.0/20').identityOf(256));
  });

  it('names no TAP where there are none', () => {
    expect(new IdentityPool(parseSubnet('10.213.0.0/20')).identityOf(0)).not.toHaveProperty('tap');
  });

  it.each([
    ['10.213.0.0/16', 4000, '10.213.15.164'],
    ['10.213.0.0/20', 4000, '10.213.15.164'],
    ['192.168.7.0/24', 250, '192.168.7.254'],
    ['192.168.7.240/28', 10, '192.168.7.254'],
  ])('of %s has %i slots, the last of which is %s', (cidr, capacity, last) => {
    expect(pool(cidr).capacity).toBe(capacity);
    expect(pool(cidr).identityOf(capacity - 1).ipv4).toBe(last);
  });

  it('never gives two slots, nor a slot and the gateway, the same', () => {
    const all = [...pool('10.213.0.0/20').identities()];
    for (const key of ['mac', 'ipv4', 'tap'] as const) expect(new Set(all.map((one) => one[key])).size).toBe(4000);
    expect(all.some(({ ipv4, mac }) => ipv4 === '10.213.0.1' || mac === pool('10.213.0.0/20').gatewayMac)).toBe(false);
  });

  it.each([-1, 4000, 0.5, NaN])('has no slot %d', (slot) => {
    expect(() => pool('10.213.0.0/20').identityOf(slot)).toThrow(InvalidInput);
  });
});

describe('The names of devices', () => {
  it('fit into 15 characters', () => {
    const names = deviceNames('/var/lib/offshoot');
    for (const name of [names.bridge, names.keeper, names.tap(3999)]) expect(name.length).toBeLessThanOrEqual(15);
  });

  it('differ between state directories', () => {
    expect(deviceNames('/a').bridge).not.toBe(deviceNames('/b').bridge);
    expect(deviceNames('/a').tapPrefix).not.toBe(deviceNames('/b').tapPrefix);
  });

  it('let the prefix of the TAPs match TAPs only', () => {
    const { bridge, keeper, tapPrefix, tap } = deviceNames('/a');
    expect(tap(0).startsWith(tapPrefix)).toBe(true);
    expect([bridge, keeper].some((name) => name.startsWith(tapPrefix))).toBe(false);
  });
});
