import { randomBytes } from 'node:crypto';
import {
  CLOCK_MAILBOX,
  CREDENTIAL_MAILBOX,
  ENTROPY_MAILBOX,
  NETWORK_MAILBOX,
  type ContentType,
} from '@offshoot/shared/mailbox/frame-layout.js';
import { deliver } from '../../mailbox/delivery.js';
import type { PlannedDelivery } from '../../mailbox/delivery-plan.js';
import type { GuestMemory } from '../../ports/driver.js';
import { ENTROPY_BYTES } from './fork-identity.js';
import type { IdentityMailbox, IdentityPlan } from './identity-plan.js';
import type { ForkSource, NewFork, ResumeHandoff } from './resume-handoff.js';

/** A part of an identity that has a mailbox of its own. */
export interface IdentityPart {
  readonly name: string;
  readonly mailbox: Exclude<IdentityMailbox, typeof NETWORK_MAILBOX>;
  readonly contentType: ContentType;
  /** Asked for as late as possible, once for each fork. */
  payload(fork: NewFork): Buffer;
}

/** The fork's clock stood still with its source's; the guest adds how long it has run since this was written. */
export const CLOCK: IdentityPart = {
  name: 'clock',
  mailbox: CLOCK_MAILBOX,
  contentType: 'json',
  payload: () => Buffer.from(JSON.stringify({ hostTimeMs: Date.now() })),
};

/** Random bytes for the kernel's pool, which would else give every fork the same. */
export const ENTROPY: IdentityPart = {
  name: 'entropy',
  mailbox: ENTROPY_MAILBOX,
  contentType: 'bytes',
  payload: () => randomBytes(ENTROPY_BYTES),
};

/** What software in the fork shows, so that others know which instance it is. */
export const CREDENTIAL: IdentityPart = {
  name: 'credential',
  mailbox: CREDENTIAL_MAILBOX,
  contentType: 'bytes',
  payload: ({ credential }) => Buffer.from(credential),
};

/**
 * Gives a fork one part of its identity. The guest puts all parts into force before it acknowledges the network, so there is
 * nothing to wait for.
 */
export class IdentityPartHandoff implements ResumeHandoff {
  readonly name: string;
  private planned: PlannedDelivery | undefined;

  constructor(
    private readonly plan: IdentityPlan,
    private readonly part: IdentityPart,
  ) {
    this.name = part.name;
  }

  async prepare(source: ForkSource, signal: AbortSignal): Promise<void> {
    this.planned = await this.plan.placeOf(this.part.mailbox, source, signal);
  }

  async apply(memory: GuestMemory, fork: NewFork): Promise<void> {
    if (this.planned === undefined) return;
    const { contentType } = this.part;
    const payload = this.part.payload(fork);
    await deliver(memory, [{ planned: { ...this.planned, contentType, payload }, ack: undefined }]);
    payload.fill(0);
  }

  afterResume(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.dispose](): void {
    // Nothing is kept.
  }
}
