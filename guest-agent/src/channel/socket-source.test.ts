import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NO_SESSION, WireDecoder, encodeData, encodeSync, newSessionId } from '@offshoot/shared/channel/wire.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ByteConnection } from './byte-source.js';
import { GuestChannel } from './guest-channel.js';
import { SocketSource } from './socket-source.js';
import { AF_VSOCK, HOST_CID, guestPort, hostPort, isFromHost } from './vsock-address.js';

const AF_UNIX = 1;

/** `struct sockaddr_un`: what is waited for, sent and read is the same for all stream sockets. */
function unixAddress(path: string): Buffer {
  const address = Buffer.alloc(2 + Buffer.byteLength(path) + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  address.write(path, 2);
  return address;
}

describe('a socket to which the host connects', () => {
  let folder: string;
  let path: string;
  let isHost: boolean;
  let source: SocketSource;
  const sockets: Socket[] = [];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-agent-'));
    path = join(folder, 'socket');
    isHost = true;
    source = new SocketSource(
      () => unixAddress(path),
      () => isHost,
    );
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
    rmSync(folder, { recursive: true });
  });

  async function dial(): Promise<Socket> {
    const socket = connect(path);
    sockets.push(socket);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }
  const read = async (connection: ByteConnection): Promise<string | undefined> => {
    const into = Buffer.alloc(100);
    const count = await connection.read(into);
    return count === undefined ? undefined : into.toString('latin1', 0, count);
  };
  /** The socket listens as soon as `open` has returned its promise. */
  async function opened(): Promise<{ host: Socket; guest: ByteConnection }> {
    const opening = source.open();
    const host = await dial();
    return { host, guest: await opening };
  }

  it('carries bytes both ways', async () => {
    const { host, guest } = await opened();
    host.write('to the guest');
    expect(await read(guest)).toBe('to the guest');
    expect(await guest.write(Buffer.from('to the host'))).toBe(11);
    const [heard] = (await once(host, 'data')) as [Buffer];
    expect(heard.toString()).toBe('to the host');
    await guest.close();
  });

  it('waits while the host takes nothing, and goes on when it does', async () => {
    const { host, guest } = await opened();
    host.pause();
    const sent = Buffer.alloc(4 * 2 ** 20, 'x');
    const writeAll = async (): Promise<void> => {
      for (let rest = sent; rest.length > 0;) rest = rest.subarray(await guest.write(rest));
    };
    const written = writeAll();
    let heard = 0;
    host.on('data', (chunk: Buffer) => (heard += chunk.length));
    host.resume();
    await written;
    while (heard < sent.length) await once(host, 'data');
    await guest.close();
  });

  it('tells the end of a connection, and has another when the host connects again', async () => {
    const first = await opened();
    first.host.end('last words');
    expect(await read(first.guest)).toBe('last words');
    expect(await read(first.guest)).toBeUndefined();
    await first.guest.close();
    const second = await opened();
    second.host.write('again');
    expect(await read(second.guest)).toBe('again');
    await second.guest.close();
  });

  it('leaves a connection for a newer one, though it was never told its end', async () => {
    const { host, guest } = await opened();
    const reading = read(guest);
    const newer = await dial();
    expect(await reading).toBeUndefined();
    const closed = once(host, 'close');
    await guest.close();
    host.resume();
    await closed;
    newer.write('here I am');
    const next = await source.open();
    expect(await read(next)).toBe('here I am');
    await next.close();
  });

  it('takes the last of several that wait', async () => {
    const first = await opened();
    const [stale, present] = [await dial(), await dial()];
    stale.write('stale');
    present.write('present');
    await first.guest.close();
    const next = await source.open();
    expect(await read(next)).toBe('present');
    await next.close();
  });

  it('hangs up on everybody else', async () => {
    isHost = false;
    const opening = source.open();
    const stranger = await dial();
    stranger.resume();
    await once(stranger, 'close');
    isHost = true;
    const host = await dial();
    host.write('x');
    expect(await read(await opening)).toBe('x');
  });

  it('lets a write end that waits when the connection is closed', async () => {
    const { host, guest } = await opened();
    host.pause();
    const writeOn = async (): Promise<void> => {
      for (;;) await guest.write(Buffer.alloc(2 ** 20));
    };
    const written = expect(writeOn()).rejects.toThrow(/closed|EPIPE|ECONNRESET/);
    // The buffers of both sides are full long before: the one that waits is told.
    await new Promise((resolve) => setImmediate(resolve));
    await guest.close();
    await written;
  });

  it('is in use by somebody else: told with the reason', async () => {
    await opened();
    const other = new SocketSource(
      () => unixAddress(path),
      () => true,
    );
    await expect(other.open()).rejects.toMatchObject({ code: 'EADDRINUSE', syscall: 'bind' });
  });

  it("is the channel's, in which every connection begins with the host's word, and the host's coming wakes", async () => {
    const stop = new AbortController();
    const heard: string[] = [];
    let wakes = 0;
    const channel = new GuestChannel(source, {
      onWake: () => {
        wakes += 1;
        return false;
      },
      onSync: () => undefined,
      onSession: (stream) => {
        stream.on('error', () => undefined);
        stream.on('data', (chunk: Buffer) => stream.write(`echo ${chunk.toString()}`));
      },
    });
    const running = channel.run(stop.signal);
    for (const round of [1, 2, 3]) {
      const before = wakes;
      const host = await dial();
      const session = newSessionId();
      const answered = new Promise<void>((resolve) => {
        const decoder = new WireDecoder({
          onSync: (id) => heard.push(id === session ? 'sync' : id),
          onData: (payload) => {
            heard.push(payload.toString());
            resolve();
          },
          onEnd: () => undefined,
          onCorrupt: (error) => heard.push(error.message),
        });
        host.on('data', (chunk: Buffer) => {
          decoder.push(chunk);
        });
      });
      host.write(Buffer.concat([encodeSync(session), ...encodeData(Buffer.from(String(round)))]));
      await answered;
      expect(wakes).toBeGreaterThanOrEqual(before + 2);
      // The first is hung up, the second left as it is.
      if (round === 1) host.end();
    }
    expect(heard).toEqual(['sync', 'echo 1', 'sync', 'echo 2', 'sync', 'echo 3']);
    expect(heard).not.toContain(NO_SESSION);
    stop.abort();
    for (const socket of sockets) socket.end();
    const last = await dial(); // the channel looks at its signal when a connection comes or ends
    last.end();
    await running;
  });
});

describe('addresses of vsock', () => {
  it('are as the kernel has them', () => {
    expect(hostPort(0x1234).toString('hex')).toBe('28000000341200000200000000000000');
    expect(guestPort(0x1234).toString('hex')).toBe('2800000034120000ffffffff00000000');
  });

  it.each([
    ['the host', AF_VSOCK, HOST_CID, true],
    ['a program of this guest', AF_VSOCK, 1, false],
    ['another guest', AF_VSOCK, 3, false],
    ['another family', 1, HOST_CID, false],
  ])('%s speaks as the host: %#', (_, family, cid, answer) => {
    const peer = hostPort(1);
    peer.writeUInt16LE(family, 0);
    peer.writeUInt32LE(cid, 8);
    expect(isFromHost(peer)).toBe(answer);
    expect(isFromHost(peer.subarray(0, 8))).toBe(false);
  });
});
