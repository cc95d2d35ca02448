import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatAckOk, parseAck, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SocketAcks } from './socket-acks.js';

const ack: Ack = { mailbox: 'task', generation: 1, nonce: 0xabcn, stage: 'applied', detail: 'so far so good' };
const never = new AbortController().signal;

/** A socket of this machine stands for the host's: ports are files. */
describe('an acknowledgement by socket', () => {
  let folder: string;
  let host: Server | undefined;
  const heard: string[] = [];
  let answers: ((socket: Socket) => void)[];
  const acks = new SocketAcks((port) => {
    const address = Buffer.alloc(110);
    address.writeUInt16LE(1, 0);
    address.write(join(folder, String(port)), 2);
    return address;
  });

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-acks-'));
    heard.length = 0;
    answers = [];
  });
  afterEach(() => {
    host?.close();
    rmSync(folder, { recursive: true });
  });

  /** Each connection's line is answered by the next of `answers`. */
  async function listen(): Promise<void> {
    host = createServer((socket) => {
      let line = '';
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => {
        line += chunk.toString();
        if (!line.endsWith('\n')) return;
        heard.push(line);
        answers.shift()?.(socket);
      });
    });
    host.listen(join(folder, '7'));
    await once(host, 'listening');
  }
  const confirm = (socket: Socket): void => {
    socket.end(`${formatAckOk(ack.nonce)}\n`);
  };

  it('is a line, and confirmed by one', async () => {
    answers = [confirm];
    await listen();
    await acks.send(ack, 7, never);
    expect(heard).toHaveLength(1);
    expect(parseAck(Buffer.from(heard[0]!.slice(0, -1)))).toEqual({ ok: true, ack });
  });

  it('takes a confirmation that comes in pieces', async () => {
    answers = [
      (socket) => {
        const answer = `${formatAckOk(ack.nonce)}\nand more`;
        socket.write(answer.slice(0, 10), () => socket.write(answer.slice(10)));
      },
    ];
    await listen();
    await acks.send(ack, 7, never);
  });

  it.each<[string, (socket: Socket) => void]>([
    ['hangs up', (socket) => socket.destroy()],
    ['confirms another', (socket) => socket.end(`${formatAckOk(1n)}\n`)],
    ['speaks without end', (socket) => socket.write('x'.repeat(100_000))],
    ['ends without a newline, and before its last digit', (socket) => socket.end(formatAckOk(ack.nonce).slice(0, -1))],
  ])('is said again to a host that %s', async (_, badly) => {
    answers = [badly, badly, confirm];
    await listen();
    await acks.send(ack, 7, never);
    expect(heard).toHaveLength(3);
  });

  it('waits for a host that does not listen yet', async () => {
    const sent = acks.send(ack, 7, never);
    answers = [confirm];
    await listen();
    await sent;
  });

  it('stops when it is superseded, while the host is silent and while it is not there', async () => {
    const absent = new AbortController();
    const unheard = expect(acks.send(ack, 8, absent.signal)).rejects.toMatchObject({ reason: 'ACK_SUPERSEDED' });
    absent.abort();
    await unheard;
    const silent = new AbortController();
    answers = [
      () => {
        silent.abort();
      },
    ];
    await listen();
    await expect(acks.send(ack, 7, silent.signal)).rejects.toMatchObject({ reason: 'ACK_SUPERSEDED' });
  });
});
