import { InvalidInput } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { formatIpv4, overlaps, parseIpv4, parseSubnet } from './subnet.js';

describe('A subnet', () => {
  it('is a network address with a prefix of 16 to 28', () => {
    expect(parseSubnet('10.213.0.0/20')).toEqual({ cidr: '10.213.0.0/20', base: 0x0ad50000, prefixLength: 20 });
    expect(parseSubnet('192.168.1.240/28').base).toBe(0xc0a801f0);
  });

  it.each([
    '',
    '10.213.0.0',
    '10.213.0.0/',
    '10.213.0.0/15',
    '10.213.0.0/29',
    '10.213.0.0/20/1',
    '10.213.0.0/2e1',
    '10.213.0/20',
    '10.213.0.256/28',
    '010.213.0.0/20',
    '10.213.0.1/20',
    '0.0.0.0/16',
    '127.0.0.0/16',
    '169.254.0.0/16',
    '224.0.0.0/16',
    'fd00::/20',
  ])('is not %j', (text) => {
    expect(() => parseSubnet(text)).toThrow(InvalidInput);
  });

  it('names the network address when given a host in it', () => {
    expect(() => parseSubnet('10.213.5.7/20')).toThrow('10.213.0.0/20');
  });

  it('overlaps what contains it, what it contains and itself, and nothing else', () => {
    const subnet = parseSubnet('10.213.0.0/20');
    const at = (text: string, prefixLength: number): boolean =>
      overlaps(subnet, { base: parseIpv4(text)!, prefixLength });
    expect(at('10.0.0.0', 8)).toBe(true);
    expect(at('10.213.0.0', 20)).toBe(true);
    expect(at('10.213.15.255', 32)).toBe(true);
    expect(at('10.213.16.0', 24)).toBe(false);
    expect(at('10.212.255.255', 32)).toBe(false);
    expect(at('192.168.0.0', 16)).toBe(false);
  });

  it('reads and writes every address alike', () => {
    for (const text of ['0.0.0.0', '10.213.0.1', '128.0.0.1', '255.255.255.255'])
      expect(formatIpv4(parseIpv4(text)!)).toBe(text);
  });
});
