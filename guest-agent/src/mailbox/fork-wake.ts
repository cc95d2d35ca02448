import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import type { ForkIdentities } from '../identity/fork-identities.js';
import type { Rehearsal } from '../identity/rehearsal.js';

/** Mailboxes of guest software: the agent's own, or those in programs' memory. */
export interface HeldMailboxes {
  /** Finds deliveries and holds them back. Returns whether there were new ones. */
  look(): boolean;
  /** Gives out what is held back. */
  release(): void;
  registrations(): RegisteredMailbox[];
}

/**
 * What the agent does when it is woken: looks at every frame at once, the network's first, and gives users' deliveries
 * out only when the identity of this fork is in force. Synchronous up to the last step.
 */
export class ForkWake {
  /** Value of {@link ForkIdentities.appliedCount} that releases what is held back. */
  private releaseAt = 0;
  private looking = false;

  constructor(
    private readonly identities: Pick<ForkIdentities, 'appliedCount' | 'look' | 'registrations'>,
    private readonly rehearsal: Pick<Rehearsal, 'look' | 'registrations'>,
    private readonly held: readonly HeldMailboxes[],
    private readonly on: {
      /** Something was delivered. Called before anybody is given anything. */
      readonly delivery: () => void;
      /** An identity came into force later than its delivery was found, and the mailboxes are armed anew. */
      readonly change: () => void;
    },
  ) {}

  /**
   * Returns whether anything was delivered. Nobody is told that the mailboxes are armed anew: whoever delivered began a
   * session with that, in which it hears what is armed.
   */
  look(): boolean {
    const before = this.identities.appliedCount;
    this.looking = true;
    const renewed = this.identities.look();
    this.looking = false;
    const rehearsed = this.rehearsal.look();
    let found = false;
    for (const mailboxes of this.held) if (mailboxes.look()) found = true;
    // Host and network hand-off belong together: a fork with data for its users has an identity on the way, by mailbox
    // now or by call (ReconfigureNetwork) soon.
    if (renewed || rehearsed || found) this.on.delivery();
    if (renewed || found) this.releaseAt = before + 1;
    this.releaseIfApplied();
    return renewed || rehearsed || found;
  }

  /** To be called after an identity came into force: within {@link look}, or later where hooks ran first. */
  identityApplied(): void {
    if (this.looking) return;
    this.releaseIfApplied();
    this.on.change();
  }

  registrations(): RegisteredMailbox[] {
    return [this.identities, this.rehearsal, ...this.held].flatMap((mailboxes) => mailboxes.registrations());
  }

  private releaseIfApplied(): void {
    if (this.identities.appliedCount < this.releaseAt) return;
    for (const mailboxes of this.held) mailboxes.release();
  }
}
