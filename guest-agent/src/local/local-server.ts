import { once } from 'node:events';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { LocalCalls } from './local-calls.js';
import { LocalConnection } from './local-connection.js';

const MAX_CLIENTS = 64;

/** The Unix socket of the local interface, for root and the socket's group. */
export class LocalServer implements AsyncDisposable {
  private constructor(
    private readonly server: Server,
    private readonly clients: Set<Socket>,
  ) {}

  /** Listens at `path`, taking the place of a dead agent's socket. */
  static async listen(path: string, calls: LocalCalls): Promise<LocalServer> {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await rm(path, { force: true });
    const clients = new Set<Socket>();
    const server = createServer((socket) => {
      clients.add(socket);
      socket.once('close', () => clients.delete(socket));
      new LocalConnection(socket, calls);
    });
    server.maxConnections = MAX_CLIENTS;
    server.listen(path);
    await once(server, 'listening');
    await chmod(path, 0o660);
    return new LocalServer(server, clients);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.clients) socket.destroy();
    await promisify(this.server.close.bind(this.server))();
  }
}
