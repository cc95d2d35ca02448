import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { GUEST_CHANNEL_PORT } from '@offshoot/shared/channel/vsock-ports.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiSocket } from './http-api/testing/api-socket.js';
import { VsockChannel } from './vsock-channel.js';

const ASKED = `CONNECT ${String(GUEST_CHANNEL_PORT)}\n`;

describe("a guest's channel over the vsock of its VMM", () => {
  let vmm: ApiSocket;
  let channel: VsockChannel;
  let requests: string[];
  /** What the VMM says to a connection that asks for the port. */
  let onAsked: (connection: Socket) => void;
  const accept = (connection: Socket): void => {
    connection.write('OK 1073741824\n');
  };

  beforeEach(async () => {
    requests = [];
    onAsked = accept;
    vmm = await ApiSocket.open((connection, request) => {
      requests.push(request);
      if (request.startsWith('CONNECT')) onAsked(connection);
    });
    channel = new VsockChannel(vmm.path, { isHeld: false });
  });
  afterEach(async () => {
    channel.hangUp();
    await vmm[Symbol.asyncDispose]();
  });

  async function dial(): Promise<Duplex> {
    const connection = await channel.dial();
    connection.on('error', () => undefined);
    return connection;
  }
  const heard = async (count: number): Promise<void> => {
    while (requests.length < count) await new Promise((resolve) => setImmediate(resolve));
  };

  it('keeps what is written until the guest has accepted, and carries bytes both ways then', async () => {
    let connection: Socket | undefined;
    onAsked = (asked) => (connection = asked);
    const guest = await dial();
    guest.write('first ');
    guest.write('second');
    await heard(1);
    expect(requests).toEqual([ASKED]);
    connection!.write('OK 1073741824\nfrom the ');
    await heard(2);
    connection!.end('guest');
    let said = '';
    guest.setEncoding('utf8').on('data', (text: string) => (said += text));
    await once(guest, 'end');
    expect([said, requests.slice(1).join('')]).toEqual(['from the guest', 'first second']);
  });

  it('breaks when the guest does not accept, and can be dialled again', async () => {
    onAsked = (connection) => connection.end();
    const guest = await dial();
    const [error] = (await once(guest, 'error')) as [Error];
    expect(error).toMatchObject({ kind: 'Unreachable', reason: 'CHANNEL_UNREACHABLE' });
    onAsked = accept;
    (await dial()).write('again');
    await heard(3);
    expect(requests).toEqual([ASKED, ASKED, 'again']);
  });

  it('breaks when the VMM ends', async () => {
    const guest = await dial();
    guest.write('x');
    await heard(2);
    const closed = once(guest, 'close');
    guest.resume();
    await vmm[Symbol.asyncDispose]();
    await closed;
    await expect(channel.dial()).rejects.toMatchObject({ kind: 'Unreachable', reason: 'CHANNEL_UNREACHABLE' });
    vmm = await ApiSocket.open(() => undefined);
  });

  it('has one connection at a time', async () => {
    const [one, other] = await Promise.allSettled([channel.dial(), channel.dial()]);
    expect(one.status).toBe('fulfilled');
    expect(other).toMatchObject({ status: 'rejected', reason: { kind: 'Conflict', reason: 'CHANNEL_IN_USE' } });
  });

  it('is not asked for while the VM stands, nor by who dials meanwhile', async () => {
    const held = new VsockChannel(vmm.path, { isHeld: true });
    const guest = await held.dial();
    guest.write('as soon as it runs');
    await new Promise((resolve) => setImmediate(resolve));
    expect([requests, held.isHeld]).toEqual([[], true]);
    held.release();
    await heard(2);
    expect([requests, held.isHeld]).toEqual([[ASKED, 'as soon as it runs'], false]);
    held.hangUp();
  });

  it('can be given up while the VM stands', async () => {
    const held = new VsockChannel(vmm.path, { isHeld: true });
    const guest = await held.dial();
    guest.on('error', () => undefined);
    const closed = once(guest, 'close');
    guest.destroy();
    await closed;
    held.release();
    (await held.dial()).destroy();
  });

  it("is hung up before a pause so that the guest's kernel confirms it", async () => {
    const guest = await dial();
    guest.write('x');
    await heard(2);
    const order: string[] = [];
    vmm.onEnd = (connection) => {
      order.push('the VMM hangs up');
      setImmediate(() => connection.end());
    };
    guest.once('close', () => order.push('closed'));
    await channel.hold();
    order.push('held');
    expect(order.filter((what) => what !== 'closed')).toEqual(['the VMM hangs up', 'held']);
    expect(guest.destroyed).toBe(true);
    const next = await dial();
    next.write('y');
    await new Promise((resolve) => setImmediate(resolve));
    expect(requests).toEqual([ASKED, 'x']);
    channel.release();
    await heard(4);
    expect(requests.slice(2)).toEqual([ASKED, 'y']);
  });

  it('is hung up all the same where the guest does not confirm', async () => {
    const guest = await dial();
    guest.write('x');
    await heard(2);
    vmm.onEnd = () => undefined;
    const started = performance.now();
    await channel.hold();
    expect(performance.now() - started).toBeLessThan(5000);
    expect(guest.destroyed).toBe(true);
  });
});
