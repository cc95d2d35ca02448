import { describe, expect, it } from 'vitest';
import { parseForkIdentity } from './fork-identity.js';

const network = { mac: '02:00:00:00:00:0a', ipv4: '10.1.2.3', prefixLength: 24, gateway: '10.1.2.1' };
const bytes = Buffer.alloc(64, 0xa5);
const inside = {
  hostname: 'fork-1',
  machineId: '0123456789abcdef0123456789abcdef',
  entropy: bytes,
  hostTimeMs: 1_767_225_600_000.25,
  credential: Buffer.alloc(43, 'aZ09-_'),
};

describe('the identity of a fork', () => {
  it('is a network identity, and the rest where it is given', () => {
    expect(parseForkIdentity(network)).toEqual(network);
    expect(parseForkIdentity({ ...network, ...inside })).toEqual({ ...network, ...inside });
    expect(parseForkIdentity({ ...network, hostname: 'a' })).toEqual({ ...network, hostname: 'a' });
  });

  it.each([
    ['hostname', ''],
    ['hostname', 'a.b'],
    ['hostname', 'A'],
    ['hostname', '-a'],
    ['hostname', 'a-'],
    ['hostname', 'a\n'],
    ['hostname', 'a'.repeat(64)],
    ['hostname', null],
    ['machineId', inside.machineId.toUpperCase()],
    ['machineId', '0'.repeat(32)],
    ['machineId', `${inside.machineId}\n`],
    ['machineId', 'abc'],
    ['entropy', Buffer.alloc(63)],
    ['entropy', Buffer.alloc(65)],
    ['entropy', bytes.toString('base64')],
    ['entropy', 7],
    ['hostTimeMs', '1767225600000'],
    ['hostTimeMs', 0],
    ['hostTimeMs', -1],
    ['hostTimeMs', Number.NaN],
    ['hostTimeMs', Number.POSITIVE_INFINITY],
    ['hostTimeMs', Date.UTC(3000)],
    ['credential', Buffer.alloc(42, 'a')],
    ['credential', Buffer.alloc(44, 'a')],
    ['credential', Buffer.alloc(43)],
    ['credential', Buffer.alloc(43, 'a\n')],
    ['credential', Buffer.alloc(43, '+/=')],
    ['credential', Buffer.alloc(43, 0xe9)],
    ['credential', 'a'.repeat(43)],
  ])('is refused with the %s %j', (field, value) => {
    expect(() => parseForkIdentity({ ...network, ...inside, [field]: value })).toThrow(
      expect.objectContaining({
        reason: 'FORK_IDENTITY_MALFORMED',
        message: expect.stringContaining(field) as string,
      }),
    );
  });

  it.each([
    ['a field nobody knows', { ...network, mtu: 1400 }],
    ['no network', inside],
    ['a list', []],
    ['nothing', null],
  ])('is refused when it has %s', (_, value) => {
    expect(() => parseForkIdentity(value)).toThrow(expect.objectContaining({ kind: 'InvalidInput' }));
  });
});
