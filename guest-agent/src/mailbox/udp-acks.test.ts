import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatAckOk, parseAck, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { UdpAcks } from './udp-acks.js';

const ack: Ack = { mailbox: 'task', generation: 1, nonce: 0xabcn, stage: 'applied', detail: 'so far so good' };

describe('an acknowledgement by UDP', () => {
  let host: Socket;
  let sender: UdpAcks;
  const target = () => ({ address: '127.0.0.1', port: host.address().port });
  const never = new AbortController().signal;

  beforeEach(async () => {
    host = createSocket('udp4');
    host.bind(0, '127.0.0.1');
    await once(host, 'listening');
    sender = await UdpAcks.open();
  });
  afterEach(async () => {
    await sender[Symbol.asyncDispose]();
    host.close();
  });

  it('is repeated until the host confirms its nonce', async () => {
    let heard = 0;
    host.on('message', (datagram, peer) => {
      expect(parseAck(datagram)).toEqual({ ok: true, ack });
      heard += 1;
      if (heard === 2) host.send(formatAckOk(1n), peer.port, peer.address); // somebody else's
      if (heard === 4) host.send(formatAckOk(ack.nonce), peer.port, peer.address);
    });
    await sender.send(ack, target(), never);
    expect(heard).toBeGreaterThanOrEqual(4);
  });

  it('is with the kernel when sending returns', async () => {
    const stop = new AbortController();
    const sent = expect(sender.send(ack, target(), stop.signal)).rejects.toMatchObject({ reason: 'ACK_SUPERSEDED' });
    const port = host.address().port.toString(16).toUpperCase().padStart(4, '0');
    const [line = ''] = readFileSync('/proc/net/udp', 'latin1')
      .split('\n')
      .filter((each) => each.includes(`:${port} 00000000:0000`));
    // The column tx_queue:rx_queue, what the host has not read yet.
    expect(Number.parseInt(/ [0-9A-F]{8}:([0-9A-F]{8}) /.exec(line)?.[1] ?? '', 16)).toBeGreaterThan(0);
    stop.abort();
    await sent;
  });

  it('stops when it is superseded', async () => {
    const stop = new AbortController();
    host.once('message', () => {
      stop.abort();
    });
    await expect(sender.send(ack, target(), stop.signal)).rejects.toMatchObject({ reason: 'ACK_SUPERSEDED' });
  });
});
