import { isIP } from 'node:net';
import { InvalidInput } from '@offshoot/shared/errors.js';

/** Where the API is served, or looked for. */
export type ApiAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** Linux allows 108 bytes with the NUL; Node cuts a longer path off without a word. */
export const MAX_SOCKET_PATH = 107;

/** @throws InvalidInput naming `field` unless `text` is `unix:///PATH` or `tcp://HOST:PORT` */
export function parseApiAddress(field: string, text: string): ApiAddress {
  const wrong = (why: string): InvalidInput =>
    InvalidInput.field(field, `must be unix:///PATH or tcp://HOST:PORT, ${why}: got ${JSON.stringify(text)}`);
  if (text.startsWith('unix://')) {
    const path = text.slice('unix://'.length);
    if (!path.startsWith('/') || path.endsWith('/') || path.includes('\0')) throw wrong('the path must be absolute');
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH)
      throw wrong(`a socket's path must be at most ${String(MAX_SOCKET_PATH)} bytes`);
    return { kind: 'unix', path };
  }
  const match = /^tcp:\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:/[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) throw wrong('nothing else is known');
  const host = match[1] ?? match[2] ?? '';
  const port = Number(match[3]);
  if (match[1] !== undefined && isIP(host) !== 6) throw wrong('what is in brackets must be an IPv6 address');
  if (port > 65_535) throw wrong('the port must be 0 to 65535');
  return { kind: 'tcp', host, port };
}

/** The address as people and `--host` write it. */
export function formatApiAddress(address: ApiAddress): string {
  return address.kind === 'unix' ? `unix://${address.path}` : `tcp://${hostAndPort(address)}`;
}

/** The address as gRPC wants it. */
export function grpcTarget(address: ApiAddress): string {
  return address.kind === 'unix' ? `unix://${address.path}` : `dns:${hostAndPort(address)}`;
}

export const hostAndPort = ({ host, port }: { host: string; port: number }): string =>
  `${isIP(host) === 6 ? `[${host}]` : host}:${String(port)}`;

/** Only these need no mTLS: what is sent there does not leave the machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
