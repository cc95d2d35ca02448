import { setTimeout as delay } from 'node:timers/promises';
import { Unsupported, messageOf } from '@offshoot/shared/errors.js';
import type { Ack, AckStage } from '@offshoot/shared/mailbox/ack-line.js';
import type { Delivery } from '@offshoot/shared/mailbox/segments.js';
import { log } from '../log.js';
import { defaultGateway } from '@offshoot/shared/default-gateway.js';
import type { ChannelAcks } from './channel-acks.js';
import type { SocketAcks } from './socket-acks.js';
import type { AckTarget, UdpAcks } from './udp-acks.js';

/** What there is to acknowledge. */
export type Acknowledgeable = Pick<Delivery, 'generation' | 'ack'>;

/** The ways to the host, by the names deliveries have for them. */
export interface AckWays {
  readonly udp: Pick<UdpAcks, 'send'>;
  readonly vsock: Pick<SocketAcks, 'send'>;
  readonly channel: Pick<ChannelAcks, 'send'>;
}

/**
 * A host that has not confirmed by then may never hear it by the way it asked for (a firewall in the guest, a route of its own):
 * it is told over the channel, too. In milliseconds; six or seven repeats of a datagram, of which most forks need one.
 */
export const SILENCE_MS = 1000;

/** Answers for deliveries, on the way each of them names. At most one answer per mailbox is under way. */
export class DeliveryAcks {
  private readonly underWay = new Map<string, AbortController>();

  constructor(
    private readonly ways: AckWays,
    private readonly silenceMs = SILENCE_MS,
  ) {}

  /**
   * Sends an acknowledgement; resolves with whether the host confirmed it: false when the delivery asks for none.
   * @throws Unsupported where the way asked for needs a gateway and there is none; Timeout; Aborted when a newer one of the mailbox replaces it
   */
  async send(mailbox: string, delivery: Acknowledgeable, stage: AckStage, detail = ''): Promise<boolean> {
    this.cancel(mailbox);
    const { transport, nonce } = delivery.ack;
    if (transport === 'none') return false;
    const ack: Ack = { mailbox, generation: delivery.generation, nonce, stage, detail };
    const stop = new AbortController();
    this.underWay.set(mailbox, stop);
    try {
      const { udp, vsock, channel } = this.ways;
      if (transport === 'channel') await channel.send(ack, stop.signal);
      else if (transport === 'vsock')
        await this.orOverChannel(ack, vsock.send(ack, delivery.ack.port, stop.signal), stop.signal);
      else await this.orOverChannel(ack, udp.send(ack, targetOf(delivery), stop.signal), stop.signal);
      return true;
    } finally {
      stop.abort();
      if (this.underWay.get(mailbox) === stop) this.underWay.delete(mailbox);
    }
  }

  /** {@link send} without anybody waiting for it; the first datagram leaves before this returns. */
  sendInBackground(mailbox: string, delivery: Acknowledgeable, stage: AckStage, detail = ''): void {
    this.send(mailbox, delivery, stage, detail).catch((error: unknown) => {
      log(`${mailbox}: ${messageOf(error)}`);
    });
  }

  /** Stops answering for what was delivered into a mailbox before. */
  cancel(mailbox: string): void {
    this.underWay.get(mailbox)?.abort();
    this.underWay.delete(mailbox);
  }

  /** The way that is confirmed first ends the other, by the signal the caller ends. */
  private async orOverChannel(ack: Ack, asked: Promise<void>, signal: AbortSignal): Promise<void> {
    const channel = delay(this.silenceMs, undefined, { signal }).then(() => this.ways.channel.send(ack, signal));
    await Promise.any([asked, channel]).catch(() => asked);
  }
}

function targetOf(delivery: Acknowledgeable): AckTarget {
  const { address, port } = delivery.ack;
  if (address !== '0.0.0.0') return { address, port };
  const gateway = defaultGateway();
  if (gateway === undefined)
    throw new Unsupported('acknowledgement to the default gateway, and there is none', { reason: 'NO_GATEWAY' });
  return { address: gateway, port };
}
