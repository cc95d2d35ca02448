import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import type { ForkNetwork } from '../network/fork-network.js';
import type { UserMailboxes } from './user-mailboxes.js';

/**
 * What the agent does when it is woken: looks at every frame at once, the network's first, and gives users' deliveries
 * out only when the identity of this fork is in force. Synchronous up to the last step.
 */
export class ForkWake {
  /** Value of {@link ForkNetwork.appliedCount} that releases what is held back. */
  private releaseAt = 0;

  constructor(
    private readonly network: ForkNetwork,
    private readonly users: UserMailboxes,
    private readonly onChange: () => void,
  ) {}

  /** Returns whether anything was delivered. */
  look(): boolean {
    const before = this.network.appliedCount;
    const renewed = this.network.look();
    // Host and network hand-off belong together: a fork with data for its users has an identity on the way, by mailbox
    // now or by call (ReconfigureNetwork) soon.
    const found = this.users.look();
    if (found) this.releaseAt = before + 1;
    this.releaseIfApplied();
    if (renewed || found) this.onChange();
    return renewed || found;
  }

  /** To be called after an identity came into force by another way. */
  releaseIfApplied(): void {
    if (this.network.appliedCount >= this.releaseAt) this.users.release();
  }

  registrations(): RegisteredMailbox[] {
    const own = this.network.registration();
    return [...(own === undefined ? [] : [own]), ...this.users.registrations()];
  }
}
