import { once } from 'node:events';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { connectVsock, requestPort } from './hybrid-vsock.js';
import { ApiSocket } from './http-api/testing/api-socket.js';

async function withVmm(
  onRequest: (connection: Socket, request: string) => void,
  test: (path: string, socket: ApiSocket) => Promise<void>,
): Promise<void> {
  await using socket = await ApiSocket.open(onRequest);
  await test(socket.path, socket);
}

async function dialVsock(path: string, port: number, signal?: AbortSignal): Promise<Socket> {
  const socket = await connectVsock(path, port, signal);
  await requestPort(socket, port, signal);
  return socket;
}

describe('dialling a port of the guest', () => {
  it('asks for the port and gives the connection from the byte after the answer on', async () => {
    await withVmm(
      (connection, request) => connection.write(request.startsWith('CONNECT') ? 'OK 1073741824\nhel' : `lo ${request}`),
      async (path, { heard }) => {
        const connection = await dialVsock(path, 5005);
        expect(heard).toEqual(['CONNECT 5005\n']);
        connection.write('world');
        let said = '';
        connection.on('data', (chunk: Buffer) => (said += chunk.toString()));
        while (said.length < 11) await once(connection, 'data');
        expect(said).toBe('hello world');
        connection.destroy();
      },
    );
  });

  it('takes an answer that comes in pieces', async () => {
    await withVmm(
      (connection) => {
        connection.setNoDelay(true);
        connection.write('OK 12', () => setImmediate(() => connection.write('34\n')));
      },
      async (path) => {
        (await dialVsock(path, 5005)).destroy();
      },
    );
  });

  it.each([
    ['hangs up, because nobody listens there', (c: Socket) => c.end(), 'the VMM hung up'],
    ['says something else', (c: Socket) => c.write('NO 17\n'), 'the VMM answered "NO 17"'],
    ['never ends its line', (c: Socket) => c.write('OK '.padEnd(40, '1')), 'the VMM answered "OK 1111'],
  ])('is refused when the VMM %s', async (_, say, why) => {
    await withVmm(say, async (path) => {
      await expect(dialVsock(path, 5005)).rejects.toMatchObject({
        kind: 'Unreachable',
        reason: 'CHANNEL_UNREACHABLE',
        message: expect.stringContaining(why) as string,
      });
    });
  });

  it('is refused when there is no VMM', async () => {
    await expect(dialVsock('/nowhere/vsock', 5005)).rejects.toMatchObject({ reason: 'CHANNEL_UNREACHABLE' });
  });

  it('can be given up while the guest does not answer', async () => {
    const cancel = new AbortController();
    await withVmm(
      () => {
        cancel.abort(new Error('no longer wanted'));
      },
      async (path) => {
        await expect(dialVsock(path, 5005, cancel.signal)).rejects.toThrow('no longer wanted');
      },
    );
  });
});
