import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { MAX_ACK_BYTES, formatAckOk } from '@offshoot/shared/mailbox/ack-line.js';

/** More than these are hung up on: an agent has one connection for each acknowledgement under way. */
const MAX_CONNECTIONS = 32;
/** A connection on which this long nothing comes is the guest's fault, in milliseconds. */
const IDLE_LIMIT_MS = 10_000;

const NEWLINE = 10;

/**
 * Takes one guest's acknowledgements over vsock: connections from it arrive at a Unix socket of its own, so nobody else can
 * speak for it. A line is an ack, and answered by a line when it was an expected one; else not, and the guest tries again.
 */
export class AckSocket {
  private readonly connections = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly path: string,
    private readonly hear: (line: Buffer) => bigint | undefined,
  ) {
    server.maxConnections = MAX_CONNECTIONS;
    server.on('connection', (socket) => {
      this.take(socket);
    });
    server.on('error', () => undefined); // of a connection that could not be accepted: the guest tries again
  }

  /**
   * @param path absolute; one that an ended daemon left there is replaced
   * @param hear tells which nonce is to be confirmed
   */
  static async listen(path: string, hear: (line: Buffer) => bigint | undefined): Promise<AckSocket> {
    rmSync(path, { force: true });
    const server = createServer();
    const socket = new AckSocket(server, path, hear);
    server.listen(path);
    await once(server, 'listening');
    // A VMM in a jail is another user. Others than that and the daemon do not get through the folder.
    await chmod(path, 0o666);
    return socket;
  }

  close(): void {
    this.server.close();
    for (const connection of this.connections) connection.destroy();
    rmSync(this.path, { force: true });
  }

  private take(socket: Socket): void {
    this.connections.add(socket);
    socket.once('close', () => this.connections.delete(socket));
    socket.on('error', () => undefined);
    socket.setTimeout(IDLE_LIMIT_MS, () => {
      socket.destroy();
    });
    let rest = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
        const nonce = this.hear(rest.subarray(0, end));
        rest = rest.subarray(end + 1);
        // Answers are shorter than what is answered; who takes none is not given more.
        if (nonce !== undefined && !socket.writableNeedDrain) socket.write(`${formatAckOk(nonce)}\n`);
      }
      if (rest.length > MAX_ACK_BYTES) socket.destroy();
    });
  }
}
