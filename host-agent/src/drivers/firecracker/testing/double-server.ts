import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createSocketServer } from 'node:net';
import { FirecrackerDouble } from './firecracker-double.js';

/** How it misbehaves at one call, as `PUT /vsock`: for clients that must bear it. */
export interface Misbehaviour {
  readonly at: string;
  readonly how: 'hangs' | 'hangs up' | 'talks nonsense' | 'dies';
}

/**
 * Serves the double on a Unix socket, until it is disposed.
 * @param onEnd called where the real one would end its process
 */
export async function serveDouble(
  socketPath: string,
  directory: string,
  onEnd: () => void,
  misbehaviour?: Misbehaviour,
): Promise<AsyncDisposable> {
  // Nobody in there listens: whoever connects is hung up on.
  const vsock = createSocketServer((connection) => connection.once('data', () => connection.destroy()));
  const double = new FirecrackerDouble(directory, (path) => {
    if (!vsock.listening) vsock.listen(path);
  });
  const server = createServer((asked, answer) => {
    let body = '';
    asked.on('data', (chunk: Buffer) => (body += chunk.toString('utf8')));
    asked.on('end', () => {
      const { method = '', url = '', socket } = asked;
      if (misbehaviour?.at === `${method} ${url}`) {
        if (misbehaviour.how === 'hangs') return;
        if (misbehaviour.how === 'dies') process.kill(process.pid, 'SIGKILL');
        socket.end(
          misbehaviour.how === 'hangs up' ? 'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{' : 'nonsense\r\n\r\n',
        );
        return;
      }
      const { status, body: text, ends } = double.answer(method, url, body);
      answer.writeHead(status, text === '' ? {} : { 'content-length': Buffer.byteLength(text) });
      answer.end(text, () => {
        if (ends === true) onEnd();
      });
    });
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    [Symbol.asyncDispose]: async () => {
      vsock.close();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
