import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { CREDENTIAL_LENGTH } from '@offshoot/shared/credential.js';
import { messageOf } from '@offshoot/shared/errors.js';
import type { AckRoute } from '@offshoot/shared/mailbox/frame.js';
import { REHEARSAL_MAILBOX } from '@offshoot/shared/mailbox/frame-layout.js';
import { log } from '../log.js';
import type { DeliveryAcks } from '../mailbox/delivery-acks.js';
import { Mailbox } from '../mailbox/mailbox.js';
import { randomBytes } from '../os/kernel-random.js';
import { ENTROPY_BYTES, type ForkIdentity } from './fork-identity.js';
import { ForkIdentities, type ForkIdentitiesParts } from './fork-identities.js';
import { IdentityMailboxes } from './identity-mailboxes.js';
import { neighbourOf } from './neighbour-identity.js';

export interface RehearsalParts extends Pick<ForkIdentitiesParts, 'identity' | 'afterFork'> {
  /** Who this VM is; undefined while it has no address. */
  readonly present: () => ForkIdentity | undefined;
  readonly acks: Pick<DeliveryAcks, 'send'>;
}

/**
 * The reserved mailbox `offshoot.rehearsal`: whoever fills it makes the agent walk through its whole wake. It does so for real,
 * with mailboxes of its own that are filled as the host fills a fork's: first with an identity that differs in everything
 * from the one this VM has, then with the one it has, so that it is who it was when it answers. All else stays: the workload
 * as it is, the hooks unrun, the generation, the keys; the kernel's generator is reseeded.
 *
 * What only a first run costs (code that is compiled, or translated by an emulator; pages that are copied) is paid here, and
 * not when a fork is waited for. That is why nothing here may be a shorter way to the same end.
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
    const present = this.parts.present();
    if (present === undefined) return 'this VM has no address';
    const mailboxes = new IdentityMailboxes();
    try {
      const scene = new Scene(this.parts, mailboxes);
      return scene.wakeAs(neighbourOf(present)) ?? scene.wakeAs(present);
    } finally {
      mailboxes.dispose(); // a frame of a reserved name that is left would make the true one ambiguous
    }
  }
}

/** A wake with nobody in the audience: what a fork's does to the world around the agent is left out. */
class Scene {
  private failure: string | undefined;
  private readonly identities: ForkIdentities;

  constructor(
    private readonly parts: RehearsalParts,
    private readonly mailboxes: IdentityMailboxes,
  ) {
    const { identity, afterFork } = parts;
    this.identities = new ForkIdentities(
      {
        identity: {
          ...identity,
          hostKeys: { remove: () => false, renew: () => Promise.resolve() },
          credential: {
            ...identity.credential,
            set: (credential) => {
              identity.credential.rehearse(credential);
            },
          },
          generation: { current: identity.generation.current, increment: () => undefined },
        },
        // Looked for, as a wake does, and not run.
        afterFork: { list: () => afterFork.list().slice(0, 0), run: () => Promise.resolve() },
        quiescence: { runningMs: 0, identityArrives: () => undefined, thaw: () => undefined },
        acks: {
          sendInBackground: (_mailbox, _delivery, stage, detail) => {
            this.failure = stage === 'failed' ? detail : undefined;
          },
        },
        log: () => undefined,
      },
      () => undefined,
      mailboxes,
    );
  }

  /** Why it failed; undefined when it did not. */
  wakeAs(identity: ForkIdentity): string | undefined {
    this.mailboxes.deliver({
      ...identity,
      entropy: randomBytes(ENTROPY_BYTES),
      credential: Buffer.alloc(CREDENTIAL_LENGTH, 'rehearsal'),
      hostTimeMs: this.parts.identity.clock.now(),
    });
    this.identities.look();
    return this.failure;
  }
}
