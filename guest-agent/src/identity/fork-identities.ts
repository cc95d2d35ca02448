import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { messageOf } from '@offshoot/shared/errors.js';
import { NETWORK_MAILBOX } from '@offshoot/shared/mailbox/frame-layout.js';
import type { Delivery } from '@offshoot/shared/mailbox/segments.js';
import type { DeliveryAcks } from '../mailbox/delivery-acks.js';
import type { ForkIdentity } from './fork-identity.js';
import { IdentityMailboxes, type FoundIdentity } from './identity-mailboxes.js';
import { applyIdentity, type IdentityParts, type IdentityReport } from './identity-steps.js';

export interface ForkIdentitiesParts {
  readonly identity: IdentityParts;
  readonly afterFork: {
    list(): string[];
    run(hooks: readonly string[], env: Readonly<Record<string, string>>): Promise<void>;
  };
  readonly quiescence: { readonly runningMs: number; identityArrives(): void; thaw(): void };
  readonly acks: Pick<DeliveryAcks, 'sendInBackground'>;
  readonly log: (message: string) => void;
}

/**
 * Obeys the {@link IdentityMailboxes} at once. An identity is put into force, after-fork hooks run, the workload thaws, and
 * only then it is answered for; one that fails leaves the workload frozen. Synchronous where there are no hooks.
 */
export class ForkIdentities {
  private applied = 0;
  private inForce: ForkIdentity | undefined;
  private underWay: Promise<void> | undefined;

  /** @param onApplied called after each identity that came into force */
  constructor(
    private readonly parts: ForkIdentitiesParts,
    private readonly onApplied: () => void,
    private readonly mailboxes = new IdentityMailboxes(),
  ) {}

  /** Counts the identities put into force so far. */
  get appliedCount(): number {
    return this.applied;
  }

  /** Obeys a delivery if there is one. Returns whether there was one; the mailboxes are armed anew when all is done. */
  look(): boolean {
    const found = this.mailboxes.look();
    if (found === undefined) return false;
    this.parts.quiescence.identityArrives();
    this.obey(found);
    return true;
  }

  /**
   * Puts an identity into force that came by call. One that repeats what is in force, because its answer was lost, changes
   * nothing but the credential. @throws what {@link applyIdentity} throws
   */
  async apply(identity: ForkIdentity): Promise<void> {
    await this.underWay;
    this.parts.quiescence.identityArrives();
    if (this.repeats(identity)) {
      // A daemon that took over knows no credential but the one it sends.
      if (identity.credential !== undefined) this.parts.identity.credential.set(identity.credential);
      identity.credential?.fill(0);
      this.parts.quiescence.thaw();
      return;
    }
    // Its time was taken when it was sent, however long ago this VM began to run.
    const report = this.putIntoForce(identity, () => 0);
    await this.runHooks();
    this.finish(identity);
    this.afterAnswer(identity, report);
  }

  registrations(): RegisteredMailbox[] {
    return this.mailboxes.registrations();
  }

  private obey(found: FoundIdentity): void {
    const { answerable } = found;
    try {
      const identity = found.read();
      const report = this.putIntoForce(identity, () => this.parts.quiescence.runningMs);
      const hooks = this.runHooks();
      if (hooks === undefined) {
        this.answer(answerable, identity, report);
        return;
      }
      this.underWay = hooks
        .then(() => {
          this.answer(answerable, identity, report);
        })
        .catch((error: unknown) => {
          this.refuse(answerable, error);
        })
        .finally(() => {
          this.underWay = undefined;
        });
    } catch (error) {
      this.refuse(answerable, error);
    } finally {
      found.wipe();
    }
  }

  private putIntoForce(identity: ForkIdentity, runningMs: () => number): IdentityReport {
    this.inForce = undefined;
    try {
      return applyIdentity(this.parts.identity, identity, runningMs);
    } finally {
      // What the kernel's generator was seeded with is nobody's to know, and the credential has its file.
      identity.entropy?.fill(0);
      identity.credential?.fill(0);
    }
  }

  /** Undefined when there are none: then nothing has to be waited for. */
  private runHooks(): Promise<void> | undefined {
    const hooks = this.parts.afterFork.list();
    if (hooks.length === 0) return undefined;
    const generation = String(this.parts.identity.generation.current);
    return this.parts.afterFork.run(hooks, { OFFSHOOT_EVENT: 'after-fork', OFFSHOOT_GENERATION: generation });
  }

  /** The workload runs on: its first instruction under the new identity. */
  private finish(identity: ForkIdentity): void {
    this.parts.quiescence.thaw();
    this.inForce = identity;
    this.applied += 1;
  }

  private answer(delivery: Delivery | undefined, identity: ForkIdentity, report: IdentityReport): void {
    this.finish(identity);
    if (delivery !== undefined) this.parts.acks.sendInBackground(NETWORK_MAILBOX, delivery, 'applied');
    this.mailboxes.arm();
    this.afterAnswer(identity, report);
  }

  private refuse(delivery: Delivery | undefined, error: unknown): void {
    this.parts.log(`identity: ${messageOf(error)}`);
    if (delivery !== undefined) this.parts.acks.sendInBackground(NETWORK_MAILBOX, delivery, 'failed', messageOf(error));
    this.mailboxes.arm();
  }

  /** What nobody waits for, the slow console among it. */
  private afterAnswer({ ipv4, hostname }: ForkIdentity, { clockStepMs, hostKeysRemoved }: IdentityReport): void {
    this.onApplied();
    setImmediate(() => {
      const { generation, hostKeys } = this.parts.identity;
      const step = clockStepMs === undefined ? 'clock left alone' : `clock stepped by ${clockStepMs.toFixed(1)} ms`;
      this.parts.log(`identity ${String(generation.current)}: ${ipv4} ${hostname ?? '(name kept)'}, ${step}`);
      if (hostKeysRemoved)
        hostKeys.renew().catch((error: unknown) => {
          this.parts.log(`host keys: ${messageOf(error)}`);
        });
    });
  }

  private repeats(identity: ForkIdentity): boolean {
    const { inForce } = this;
    if (inForce === undefined) return false;
    const fields = ['mac', 'ipv4', 'prefixLength', 'gateway', 'hostname', 'machineId'] as const;
    return fields.every((field) => inForce[field] === identity[field]);
  }
}
