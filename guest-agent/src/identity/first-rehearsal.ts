import { DgramAsPromised } from 'dgram-as-promised';
import { formatAckOk, parseAck } from '@offshoot/shared/mailbox/ack-line.js';
import { randomBytes } from '../os/kernel-random.js';
import type { Rehearsal } from './rehearsal.js';

/**
 * Rehearses before this VM has a host to answer to: the agent answers itself over the loopback. It costs 0.3 to 0.6 s of a
 * boot under emulation and halves the time to every fork's first answer (docs/performance.md).
 * @param wake what the channel calls when the host wakes this VM
 */
export async function firstRehearsal(rehearsal: Rehearsal, wake: () => void): Promise<void> {
  const socket = DgramAsPromised.createSocket('udp4');
  const { port, address } = await socket.bind(0, '127.0.0.1');
  const { socket: host } = socket;
  try {
    host.on('message', (line, from) => {
      const parse = parseAck(line);
      if (parse.ok) host.send(formatAckOk(parse.ack.nonce), from.port, from.address);
    });
    const nonce = randomBytes(8).readBigUInt64LE();
    await rehearsal.byItself({ transport: 'udp', address, port, nonce }, wake);
  } finally {
    await socket.close();
  }
}
