import { describe, expect, it } from 'vitest';
import { parseForkIdentity, type ForkIdentity } from './fork-identity.js';
import { neighbourOf } from './neighbour-identity.js';

const present: ForkIdentity = {
  mac: '02:00:00:00:00:01',
  ipv4: '10.1.2.2',
  prefixLength: 24,
  gateway: '10.1.2.1',
  hostname: 'vm',
  machineId: `${'0'.repeat(31)}1`,
};

describe('the neighbour of an identity', () => {
  it.each([
    ['an ordinary one', present],
    ['one on the smallest network there is', { ...present, prefixLength: 30 }],
    ['one with the name of neighbours', { ...present, hostname: 'rehearsal' }],
    ['one that ends in other digits', { ...present, mac: '02:00:00:00:00:0f', machineId: 'ab'.repeat(16) }],
    ['the first host of its network', { ...present, ipv4: '10.1.2.1', gateway: '10.1.2.254' }],
  ])('of %s differs in all but network and gateway, and is an identity itself', (_, identity) => {
    const neighbour = neighbourOf(identity);
    expect(parseForkIdentity(neighbour)).toEqual(neighbour);
    const same = Object.entries(neighbour).filter(([key, value]) => identity[key as keyof ForkIdentity] === value);
    // Two hosts fit into a network of 30 bits, and the other one is the gateway.
    const ownAddress = identity.prefixLength === 30 ? ['ipv4'] : [];
    const expected = [...ownAddress, 'prefixLength', 'gateway'];
    expect(same.map(([key]) => key)).toEqual(expected);
    expect(neighbour.ipv4).not.toBe(identity.gateway);
  });

  it('has no name and no id where there is none', () => {
    const { mac, ipv4, prefixLength, gateway } = present;
    expect(Object.keys(neighbourOf({ mac, ipv4, prefixLength, gateway }))).toEqual([
      'mac',
      'ipv4',
      'prefixLength',
      'gateway',
    ]);
  });
});
