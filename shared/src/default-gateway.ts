import { readFileSync } from 'node:fs';

/** Gateway of the default route as the kernel has it (columns of /proc/net/route, hexadecimal, little-endian); undefined without one. */
export function defaultGateway(): string | undefined {
  for (const line of readFileSync('/proc/net/route', 'latin1').split('\n').slice(1)) {
    const [, destination, gateway, , , , , mask] = line.split('\t');
    if (destination !== '00000000' || mask !== '00000000' || gateway === undefined || gateway === '00000000') continue;
    return [...Buffer.from(gateway, 'hex')].reverse().join('.');
  }
  return undefined;
}
