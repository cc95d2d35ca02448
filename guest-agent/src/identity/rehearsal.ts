import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { messageOf } from '@offshoot/shared/errors.js';
import type { AckRoute } from '@offshoot/shared/mailbox/frame.js';
import { REHEARSAL_MAILBOX } from '@offshoot/shared/mailbox/frame-layout.js';
import { log } from '../log.js';
import type { DeliveryAcks } from '../mailbox/delivery-acks.js';
import { Mailbox } from '../mailbox/mailbox.js';
import { randomBytes } from '../os/kernel-random.js';
import { ENTROPY_BYTES, parseForkIdentity, type ForkIdentity } from './fork-identity.js';
import { applyIdentity, type IdentityParts } from './identity-steps.js';

export interface RehearsalParts {
  readonly identity: IdentityParts;
  /** Who this VM is; undefined while it has no address. */
  readonly present: () => ForkIdentity | undefined;
  readonly acks: Pick<DeliveryAcks, 'send'>;
}

/**
 * The reserved mailbox `offshoot.rehearsal`: whoever fills it makes the agent walk through its whole wake, with the identity
 * that this VM has. Nothing changes by it but the state of the kernel's generator: the workload stays as it is, hooks do not
 * run, the generation stays, keys stay. What only a first run costs (code that is compiled, or translated by an emulator;
 * pages that are copied) is paid here, and not when a fork is waited for.
 */
export class Rehearsal {
  private readonly mailbox = new Mailbox(REHEARSAL_MAILBOX);
  private confirmed: Promise<unknown> = Promise.resolve();

  constructor(private readonly parts: RehearsalParts) {}

  /** Obeys a delivery if there is one. Returns whether there was one. */
  look(): boolean {
    const found = this.mailbox.look();
    if (found === undefined) return false;
    if ('corrupt' in found) log(`${REHEARSAL_MAILBOX}: ${found.corrupt.message}`);
    else {
      const failure = this.walk();
      const stage = failure === undefined ? 'applied' : 'failed';
      this.confirmed = this.parts.acks
        .send(REHEARSAL_MAILBOX, found.delivery, stage, failure)
        .catch((error: unknown) => {
          log(`${REHEARSAL_MAILBOX}: ${messageOf(error)}`);
        });
    }
    this.mailbox.arm();
    return true;
  }

  /**
   * Fills the mailbox as the host does, has `wake` look at it, and resolves when the answer to it has been heard, or was given
   * up. @param ack where that goes
   */
  async byItself(ack: AckRoute, wake: () => void): Promise<void> {
    this.mailbox.deliver(Buffer.from('{}'), ack);
    wake();
    await this.confirmed;
  }

  registrations(): RegisteredMailbox[] {
    const registration = this.mailbox.registration();
    return registration === undefined ? [] : [registration];
  }

  /** Why it failed; undefined when it did not. */
  private walk(): string | undefined {
    const { identity: parts, present } = this.parts;
    try {
      const identity = present();
      if (identity === undefined) return 'this VM has no address';
      // As text and back: so it comes to a fork.
      const fields: unknown = JSON.parse(JSON.stringify({ ...identity, hostTimeMs: parts.clock.now() }));
      const entropy = randomBytes(ENTROPY_BYTES);
      const unchanged = {
        ...parts,
        hostKeys: { remove: () => false, renew: () => Promise.resolve() },
        generation: { current: parts.generation.current, increment: () => undefined },
      };
      applyIdentity(unchanged, parseForkIdentity({ ...(fields as object), entropy }), () => 0);
      return undefined;
    } catch (error) {
      log(`${REHEARSAL_MAILBOX}: ${messageOf(error)}`);
      return messageOf(error);
    }
  }
}
