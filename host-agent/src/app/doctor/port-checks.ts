import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { messageOf } from '@offshoot/shared/errors.js';
import { fail, pass, type Check } from './check.js';

const UNIX = 'unix://';
/** Somebody accepts at once, or is not there. */
const CONNECT_MS = 2000;

/** Where the daemon is to be reached, from outside and from guests. */
export const PORT_CHECKS: readonly Check[] = [
  {
    name: 'ports',
    run: async ({ root, listening, acks, network: { status } }, signal) => {
      const address = listening();
      const unreachable = await whyUnreachable(address, signal);
      if (unreachable !== undefined)
        return fail(
          `new clients cannot connect to ${address}: ${unreachable}`,
          'restart the daemon; what else is at that place, or removed the socket, is to leave it alone',
        );
      const { ackBindAddress } = status;
      const acksAt = `UDP ${ackBindAddress}:${String(acks.port)}`;
      if (holdsUdpPort(root, ackBindAddress, acks.port)) return pass(`${address}; ${acksAt} for acknowledgements`);
      return fail(`the daemon has no ${acksAt}, to which guests acknowledge`, 'restart the daemon');
    },
  },
];

/** Undefined where somebody accepts. */
async function whyUnreachable(address: string, signal: AbortSignal): Promise<string | undefined> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_MS)]);
  const socket = address.startsWith(UNIX) ? connect(address.slice(UNIX.length)) : connect(hostAndPortOf(address));
  try {
    return await new Promise((resolve) => {
      socket.once('connect', () => {
        resolve(undefined);
      });
      socket.once('error', (error) => {
        resolve(messageOf(error));
      });
      limit.addEventListener('abort', () => {
        resolve('nobody accepts');
      });
    });
  } finally {
    socket.destroy();
  }
}

function hostAndPortOf(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(address);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) };
}

/** Whether a socket of this process is bound there, by /proc/PID/net/udp (proc_net_udp(5)): address as hex of a little-endian word. */
function holdsUdpPort(root: string, address: string, port: number): boolean {
  const word = address
    .split('.')
    .reverse()
    .map((octet) => Number(octet).toString(16).padStart(2, '0'))
    .join('')
    .toUpperCase();
  const local = `${word}:${port.toString(16).padStart(4, '0').toUpperCase()}`;
  const rows = readFileSync(join(root, 'proc/self/net/udp'), 'latin1').split('\n').slice(1);
  const inode = rows.map((row) => row.trim().split(/\s+/)).find((columns) => columns[1] === local)?.[9];
  return inode !== undefined && openFilesOf(root).includes(`socket:[${inode}]`);
}

const openFilesOf = (root: string): string[] =>
  readdirSync(join(root, 'proc/self/fd')).flatMap((descriptor) => {
    try {
      return [readlinkSync(join(root, 'proc/self/fd', descriptor))];
    } catch {
      return []; // closed meanwhile, as that of the listing itself
    }
  });
