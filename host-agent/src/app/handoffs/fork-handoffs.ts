import type { Instance } from '../../domain/instance.js';
import type { GuestMemory } from '../../ports/driver.js';
import type { ForkInstanceCommand, MailboxAckView } from '../commands.js';
import type { Context } from '../context.js';
import type { InstanceCredential } from '../instance-credentials.js';
import { CLOCK, CREDENTIAL, ENTROPY, IdentityPartHandoff } from './identity-part-handoff.js';
import { IdentityPlan } from './identity-plan.js';
import { MailboxHandoff } from './mailbox-handoff.js';
import { NetworkHandoff } from './network-handoff.js';
import type { ForkSource, ResumeHandoff, ResumedFork } from './resume-handoff.js';

/** What became of a fork's hand-offs; times in milliseconds from the resume. */
export interface HandoffOutcome {
  readonly acks: readonly MailboxAckView[];
  readonly networkMs: number;
  /** When the last answer that was waited for had come. */
  readonly ackMs: number;
}

/** The hand-offs of one fork as one. */
export class ForkHandoffs implements Disposable {
  private readonly network: NetworkHandoff;
  private readonly mailboxes: MailboxHandoff;
  private readonly list: readonly ResumeHandoff[];
  private credential: Buffer | undefined;

  constructor(
    context: Context,
    command: Pick<ForkInstanceCommand, 'waitForNetwork' | 'networkTimeoutMs' | 'mailboxes'>,
  ) {
    const identity = new IdentityPlan(context);
    const { waitForNetwork: wait, networkTimeoutMs: timeoutMs } = command;
    this.network = new NetworkHandoff(context, identity, { wait, timeoutMs });
    this.mailboxes = new MailboxHandoff(context, command.mailboxes);
    this.list = [
      this.network, // first: the others' acknowledgements travel over it
      new IdentityPartHandoff(identity, CLOCK),
      new IdentityPartHandoff(identity, ENTROPY),
      new IdentityPartHandoff(identity, CREDENTIAL),
      this.mailboxes,
    ];
  }

  /** Prepares all before anything is done for any. */
  async prepare(source: ForkSource, signal: AbortSignal): Promise<void> {
    for (const handoff of this.list) await handoff.prepare(source, signal);
  }

  /** @param credential of the VM that the memory is */
  async apply(memory: GuestMemory, instance: Instance, credential: InstanceCredential): Promise<void> {
    this.credential = credential.issue();
    const fork = { instance, credential: this.credential };
    for (const handoff of this.list) await handoff.apply(memory, fork);
  }

  /** All wait at the same time; the first that fails ends the waiting of the others. */
  async afterResume(fork: ResumedFork, signal: AbortSignal): Promise<HandoffOutcome> {
    const failed = new AbortController();
    const waiting = AbortSignal.any([signal, failed.signal]);
    const waits = this.list.map((handoff) => handoff.afterResume(fork, waiting));
    try {
      await Promise.all(waits);
    } catch (error) {
      failed.abort(error);
      await Promise.allSettled(waits);
      throw error;
    }
    return {
      acks: this.mailboxes.acks,
      networkMs: this.network.latencyMs,
      ackMs: Math.max(this.network.latencyMs, ...this.mailboxes.acks.map(({ latencyMs }) => latencyMs)),
    };
  }

  [Symbol.dispose](): void {
    for (const handoff of this.list) handoff[Symbol.dispose]();
    this.credential?.fill(0);
  }
}
