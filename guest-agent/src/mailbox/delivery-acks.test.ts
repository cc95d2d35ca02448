import { beforeEach, describe, expect, it } from 'vitest';
import type { Ack } from '@offshoot/shared/mailbox/ack-line.js';
import type { AckTransport } from '@offshoot/shared/mailbox/frame-layout.js';
import { ackSuperseded, ackUnconfirmed } from './ack-outcome.js';
import { DeliveryAcks, type Acknowledgeable } from './delivery-acks.js';

/** A way to the host that says nothing until the test does. */
class Way {
  readonly said: Ack[] = [];
  private settle: { confirm: () => void; fail: (error: Error) => void } | undefined;
  private onSaid = (): void => undefined;

  send(ack: Ack, ...rest: unknown[]): Promise<void> {
    this.said.push(ack);
    const signal = rest.at(-1) as AbortSignal;
    this.onSaid();
    return new Promise((confirm, fail) => {
      this.settle = { confirm, fail };
      signal.addEventListener('abort', () => {
        fail(ackSuperseded());
      });
    });
  }

  /** Resolves once something is said. */
  speaks(): Promise<void> {
    return new Promise((resolve) => {
      this.onSaid = resolve;
      if (this.said.length > 0) resolve();
    });
  }

  confirm(): void {
    this.settle?.confirm();
  }

  fail(error: Error): void {
    this.settle?.fail(error);
  }
}

const delivery = (transport: AckTransport, address = '10.0.2.2'): Acknowledgeable => ({
  generation: 1,
  ack: { transport, port: 9, address, nonce: 5n },
});
const said: Ack = { mailbox: 'task', generation: 1, nonce: 5n, stage: 'applied', detail: 'so' };

describe('the answer for a delivery', () => {
  let udp: Way;
  let channel: Way;
  let vsock: Way;
  let acks: DeliveryAcks;
  beforeEach(() => {
    [udp, vsock, channel] = [new Way(), new Way(), new Way()];
    acks = new DeliveryAcks({ udp, vsock, channel }, 20);
  });

  it('goes by UDP alone when that is asked for and the host hears it', async () => {
    const sent = acks.send('task', delivery('udp'), 'applied', 'so');
    expect(udp.said).toEqual([said]);
    udp.confirm();
    expect(await sent).toBe(true);
    expect(channel.said).toEqual([]);
  });

  it('goes over the channel, too, when the host does not hear it by UDP', async () => {
    const sent = acks.send('task', delivery('udp'), 'applied', 'so');
    await channel.speaks();
    expect(channel.said).toEqual([said]);
    channel.confirm();
    expect(await sent).toBe(true);
  });

  it('may still be heard by UDP then', async () => {
    const sent = acks.send('task', delivery('udp'), 'applied');
    await channel.speaks();
    udp.confirm();
    expect(await sent).toBe(true);
  });

  it('fails when it is heard neither way', async () => {
    const sent = expect(acks.send('task', delivery('udp'), 'applied')).rejects.toMatchObject({
      reason: 'ACK_UNCONFIRMED',
    });
    await channel.speaks();
    udp.fail(ackUnconfirmed());
    channel.fail(ackUnconfirmed());
    await sent;
  });

  it('goes over the channel alone when that is asked for', async () => {
    const sent = acks.send('task', delivery('channel'), 'applied', 'so');
    expect([udp.said, channel.said]).toEqual([[], [said]]);
    channel.confirm();
    expect(await sent).toBe(true);
  });

  it('goes by vsock when that is asked for, and over the channel, too, when the host does not hear it', async () => {
    const sent = acks.send('task', delivery('vsock'), 'applied', 'so');
    expect([udp.said, vsock.said, channel.said]).toEqual([[], [said], []]);
    await channel.speaks();
    channel.confirm();
    expect(await sent).toBe(true);
  });

  it('is not given when none is asked for', async () => {
    expect(await acks.send('task', delivery('none'), 'applied')).toBe(false);
    expect([udp.said, vsock.said, channel.said]).toEqual([[], [], []]);
  });

  it.each<AckTransport>(['udp', 'vsock', 'channel'])(
    'ends by %s when a newer one comes, or the mailbox is armed anew',
    async (way) => {
      const first = expect(acks.send('task', delivery(way), 'received')).rejects.toMatchObject({
        reason: 'ACK_SUPERSEDED',
      });
      const second = expect(acks.send('task', delivery(way), 'applied')).rejects.toMatchObject({
        reason: 'ACK_SUPERSEDED',
      });
      await first;
      acks.cancel('task');
      await second;
    },
  );
});
