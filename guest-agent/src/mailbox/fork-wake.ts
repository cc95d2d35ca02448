import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import type { ForkIdentities } from '../identity/fork-identities.js';
import type { UserMailboxes } from './user-mailboxes.js';

/**
 * What the agent does when it is woken: looks at every frame at once, the network's first, and gives users' deliveries
 * out only when the identity of this fork is in force. Synchronous up to the last step.
 */
export class ForkWake {
  /** Value of {@link ForkIdentities.appliedCount} that releases what is held back. */
  private releaseAt = 0;
  private looking = false;

  constructor(
    private readonly identities: ForkIdentities,
    private readonly users: UserMailboxes,
    private readonly onChange: () => void,
  ) {}

  /** Returns whether anything was delivered. */
  look(): boolean {
    const before = this.identities.appliedCount;
    this.looking = true;
    const renewed = this.identities.look();
    this.looking = false;
    // Host and network hand-off belong together: a fork with data for its users has an identity on the way, by mailbox
    // now or by call (ReconfigureNetwork) soon.
    const found = this.users.look();
    if (found) this.releaseAt = before + 1;
    this.releaseIfApplied();
    if (renewed || found) this.onChange();
    return renewed || found;
  }

  /** To be called after an identity came into force: within {@link look}, or later where hooks ran first. */
  identityApplied(): void {
    if (this.looking) return;
    this.releaseIfApplied();
    this.onChange();
  }

  registrations(): RegisteredMailbox[] {
    const own = this.identities.registration();
    return [...(own === undefined ? [] : [own]), ...this.users.registrations()];
  }

  private releaseIfApplied(): void {
    if (this.identities.appliedCount >= this.releaseAt) this.users.release();
  }
}
