import { Timeout } from '@offshoot/shared/errors.js';
import { deliver } from '../../mailbox/delivery.js';
import { planDeliveries, type PlannedDelivery } from '../../mailbox/delivery-plan.js';
import type { PendingAck } from '../../ports/ack-listener.js';
import type { GuestMemory } from '../../ports/driver.js';
import type { MailboxAckView, MailboxDeliveryCommand } from '../commands.js';
import type { Context } from '../context.js';
import { ackPathOf } from './ack-route.js';
import { awaitAck } from './awaited-ack.js';
import type { ForkSource, NewFork, ResumeHandoff, ResumedFork } from './resume-handoff.js';

interface Awaited {
  readonly command: MailboxDeliveryCommand;
  readonly pending: PendingAck;
}

/** The callers' payloads. There is no way back here: a mailbox that is not there or stays silent is the caller's error. */
export class MailboxHandoff implements ResumeHandoff {
  readonly name = 'mailboxes';
  /** What the guest answered, in the order of the request, of those that were waited for. */
  acks: readonly MailboxAckView[] = [];
  private planned: readonly PlannedDelivery[] = [];
  private awaited: readonly Awaited[] = [];

  constructor(
    private readonly context: Context,
    private readonly commands: readonly MailboxDeliveryCommand[],
  ) {}

  async prepare({ capture, files }: ForkSource, signal: AbortSignal): Promise<void> {
    if (this.commands.length === 0) return;
    const index = this.context.mailboxIndexes.of(files, capture);
    const lookup = await index.lookup(
      this.commands.map(({ name }) => name),
      signal,
    );
    this.planned = planDeliveries(lookup, this.commands);
  }

  async apply(memory: GuestMemory, { instance }: NewFork): Promise<void> {
    const { acks } = this.context;
    const { ack, from } = ackPathOf(this.context, instance);
    // Also where nobody waits the guest is told where to ack: it does not have to know who listens.
    const delivered = await deliver(
      memory,
      this.planned.map((planned) => ({ planned, ack })),
    );
    this.awaited = this.commands.flatMap((command, i) => {
      const expected = delivered[i];
      return expected === undefined ? [] : [{ command, pending: acks.expect({ ...expected, ...from }) }];
    });
  }

  async afterResume({ resumedAt }: ResumedFork, signal: AbortSignal): Promise<void> {
    const waits = this.awaited
      .filter(({ command }) => command.waitForAck)
      .map((awaited) => this.waitFor(awaited, resumedAt, signal));
    this.acks = await Promise.all(waits);
  }

  [Symbol.dispose](): void {
    for (const { pending } of this.awaited) pending[Symbol.dispose]();
  }

  private async waitFor(
    { command, pending }: Awaited,
    resumedAt: number,
    signal: AbortSignal,
  ): Promise<MailboxAckView> {
    const { name: mailbox } = command;
    try {
      const { detail } = await awaitAck(pending, mailbox, command.ackTimeoutMs, signal);
      return { mailbox, stage: 'applied', detail, latencyMs: performance.now() - resumedAt };
    } catch (error) {
      if (!(error instanceof Timeout) || command.onAckTimeout === 'DELETE') throw error;
      return { mailbox, stage: '', detail: '', latencyMs: performance.now() - resumedAt };
    }
  }
}
