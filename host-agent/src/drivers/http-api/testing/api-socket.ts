import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A Unix socket whose other end says what a test wants, in bytes: for everything that is not a proper answer. */
export class ApiSocket implements AsyncDisposable {
  private readonly connections = new Set<Socket>();
  /** What was received, one string a connection. */
  readonly heard: string[] = [];
  /** What it does when the other side has said its last. */
  onEnd = (connection: Socket): void => {
    connection.end();
  };

  private constructor(
    private readonly directory: string | undefined,
    readonly path: string,
    private readonly server: Server,
  ) {}

  /** @param onRequest called for each chunk that ends a request's head or body, as tests' requests come in one piece */
  static async open(onRequest: (connection: Socket, request: string) => void): Promise<ApiSocket> {
    const directory = await mkdtemp(join(tmpdir(), 'api-'));
    return ApiSocket.listen(join(directory, 'api.sock'), directory, onRequest);
  }

  /** @param path where a VMM would have it */
  static openAt(path: string, onRequest: (connection: Socket, request: string) => void): Promise<ApiSocket> {
    return ApiSocket.listen(path, undefined, onRequest);
  }

  private static async listen(
    path: string,
    directory: string | undefined,
    onRequest: (connection: Socket, request: string) => void,
  ): Promise<ApiSocket> {
    const server = createServer({ allowHalfOpen: true });
    const socket = new ApiSocket(directory, path, server);
    server.on('connection', (connection) => {
      socket.connections.add(connection);
      const number = socket.heard.push('') - 1;
      connection.on('error', () => undefined);
      connection.on('end', () => {
        socket.onEnd(connection);
      });
      connection.on('data', (chunk) => {
        const request = chunk.toString('utf8');
        socket.heard[number] = `${socket.heard[number] ?? ''}${request}`;
        onRequest(connection, request);
      });
    });
    server.listen(path);
    await once(server, 'listening');
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.connections) connection.destroy();
    this.server.close();
    await once(this.server, 'close');
    if (this.directory !== undefined) await rm(this.directory, { recursive: true, force: true });
  }
}

/** A proper answer. */
export const answer = (status: string, body = ''): string =>
  `HTTP/1.1 ${status}\r\nContent-Length: ${String(Buffer.byteLength(body))}\r\n\r\n${body}`;
