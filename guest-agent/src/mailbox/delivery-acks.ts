import { Unsupported, messageOf } from '@offshoot/shared/errors.js';
import type { AckStage } from '@offshoot/shared/mailbox/ack-line.js';
import type { SegmentDelivery } from '@offshoot/shared/mailbox/frame.js';
import { log } from '../log.js';
import { defaultGateway } from '../network/default-gateway.js';
import type { AckSender, AckTarget } from './ack-sender.js';

/** Answers for deliveries, on the way each of them names. At most one answer per mailbox is under way. */
export class DeliveryAcks {
  private readonly underWay = new Map<string, AbortController>();

  constructor(private readonly sender: AckSender) {}

  /**
   * Sends an acknowledgement; resolves with whether the host confirmed it: false when the delivery asks for none.
   * @throws Unsupported for a transport this agent has not; Timeout; Aborted when a newer one of the mailbox replaces it
   */
  async send(mailbox: string, delivery: SegmentDelivery, stage: AckStage, detail = ''): Promise<boolean> {
    this.cancel(mailbox);
    const { transport, nonce } = delivery.ack;
    if (transport === 'none') return false;
    if (transport !== 'udp')
      throw new Unsupported(`acknowledgement by ${transport}`, { reason: 'ACK_TRANSPORT', metadata: { transport } });
    const target = targetOf(delivery);
    const stop = new AbortController();
    this.underWay.set(mailbox, stop);
    try {
      const ack = { mailbox, generation: delivery.generation, nonce, stage, detail };
      await this.sender.send(ack, target, stop.signal);
      return true;
    } finally {
      if (this.underWay.get(mailbox) === stop) this.underWay.delete(mailbox);
    }
  }

  /** {@link send} without anybody waiting for it; the first datagram leaves before this returns. */
  sendInBackground(mailbox: string, delivery: SegmentDelivery, stage: AckStage, detail = ''): void {
    this.send(mailbox, delivery, stage, detail).catch((error: unknown) => {
      log(`${mailbox}: ${messageOf(error)}`);
    });
  }

  /** Stops answering for what was delivered into a mailbox before. */
  cancel(mailbox: string): void {
    this.underWay.get(mailbox)?.abort();
    this.underWay.delete(mailbox);
  }
}

function targetOf(delivery: SegmentDelivery): AckTarget {
  const { address, port } = delivery.ack;
  if (address !== '0.0.0.0') return { address, port };
  const gateway = defaultGateway();
  if (gateway === undefined)
    throw new Unsupported('acknowledgement to the default gateway, and there is none', { reason: 'NO_GATEWAY' });
  return { address: gateway, port };
}
