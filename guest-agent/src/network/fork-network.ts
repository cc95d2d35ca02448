import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { messageOf } from '@offshoot/shared/errors.js';
import type { SegmentDelivery } from '@offshoot/shared/mailbox/frame.js';
import { NETWORK_MAILBOX } from '@offshoot/shared/mailbox/frame-layout.js';
import { log } from '../log.js';
import type { DeliveryAcks } from '../mailbox/delivery-acks.js';
import { Mailbox } from '../mailbox/mailbox.js';
import { parseGuestIdentity, type GuestIdentity } from './guest-identity.js';

/** Where an identity is put into force. */
export interface IdentityTarget {
  /** Synchronous: nothing of this VM's software runs between the old identity and the new one. */
  apply(identity: GuestIdentity): void;
}

/** The reserved mailbox `offshoot.network`: armed always, and obeyed at once. */
export class ForkNetwork {
  private readonly mailbox = new Mailbox(NETWORK_MAILBOX);
  private generation = 0;

  constructor(
    private readonly target: IdentityTarget,
    private readonly acks: DeliveryAcks,
  ) {}

  /** Counts the identities put into force so far. */
  get appliedCount(): number {
    return this.generation;
  }

  /** Puts an identity into force. @throws what the kernel refuses it with */
  apply(identity: GuestIdentity): void {
    this.target.apply(identity);
    this.generation += 1;
  }

  /** Obeys a delivery if there is one, answers for it, and arms the mailbox anew. Returns whether there was one. */
  look(): boolean {
    const found = this.mailbox.look();
    if (found === undefined) return false;
    if ('corrupt' in found) log(`${NETWORK_MAILBOX}: ${found.corrupt.message}`);
    else this.obey(found.delivery);
    this.mailbox.arm();
    return true;
  }

  registration(): RegisteredMailbox | undefined {
    return this.mailbox.registration();
  }

  private obey(delivery: SegmentDelivery): void {
    try {
      if (delivery.contentType !== 'json') throw new Error('the payload is not JSON');
      this.apply(parseGuestIdentity(JSON.parse(delivery.payload.toString('utf8'))));
      this.acks.sendInBackground(NETWORK_MAILBOX, delivery, 'applied');
    } catch (error) {
      log(`${NETWORK_MAILBOX}: ${messageOf(error)}`);
      this.acks.sendInBackground(NETWORK_MAILBOX, delivery, 'failed', messageOf(error));
    }
  }
}
