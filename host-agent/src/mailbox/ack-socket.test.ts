import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatAckOk } from '@offshoot/shared/mailbox/ack-line.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AckSocket } from './ack-socket.js';

describe("a guest's socket for acknowledgements", () => {
  let folder: string;
  let path: string;
  let acks: AckSocket;
  let heard: string[];
  const sockets: Socket[] = [];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-acks-'));
    path = join(folder, 'vsock_21319');
    heard = [];
    acks = await AckSocket.listen(path, (line) => {
      heard.push(line.toString('latin1'));
      return line.toString().startsWith('ack') ? 7n : undefined;
    });
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
    acks.close();
    rmSync(folder, { recursive: true });
  });

  async function dial(): Promise<Socket> {
    const socket = connect(path);
    sockets.push(socket);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }
  async function answersTo(socket: Socket, count: number): Promise<string> {
    let said = '';
    while (said.split('\n').length <= count) {
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      said += chunk.toString();
    }
    return said;
  }

  it('lets a VMM connect that runs as another user', () => {
    expect(statSync(path).mode & 0o777).toBe(0o666);
  });

  it('hears lines, however they are cut, and confirms those that were expected', async () => {
    const guest = await dial();
    guest.setNoDelay(true);
    guest.write('ack o');
    guest.write('ne\nno ack\nack two\nack');
    expect(await answersTo(guest, 2)).toBe(`${formatAckOk(7n)}\n${formatAckOk(7n)}\n`);
    expect(heard).toEqual(['ack one', 'no ack', 'ack two']);
  });

  it('hangs up on a line that is too long for an ack', async () => {
    const guest = await dial();
    guest.resume();
    guest.write('x'.repeat(1201));
    await once(guest, 'close');
    expect(heard).toEqual([]);
  });

  it('hangs up on more connections than a guest can have a use for, and goes on serving the others', async () => {
    const guests = await Promise.all(Array.from({ length: 32 }, () => dial()));
    const more = await dial();
    more.resume();
    await once(more, 'close');
    guests[31]!.write('ack\n');
    expect(await answersTo(guests[31]!, 1)).toBe(`${formatAckOk(7n)}\n`);
  });

  it('is gone when it is closed, connections and all', async () => {
    const guest = await dial();
    guest.resume();
    acks.close();
    await once(guest, 'close');
    expect(existsSync(path)).toBe(false);
  });

  it('takes the place of what an ended daemon left', async () => {
    const left = join(folder, 'left');
    writeFileSync(left, '');
    (await AckSocket.listen(left, () => undefined)).close();
    expect(existsSync(left)).toBe(false);
  });
});
