import { InvalidState, NotFound, messageOf } from '@offshoot/shared/errors.js';
import {
  CLOCK_MAILBOX,
  CREDENTIAL_MAILBOX,
  ENTROPY_MAILBOX,
  NETWORK_MAILBOX,
} from '@offshoot/shared/mailbox/frame-layout.js';
import { planDeliveries, type PlannedDelivery } from '../../mailbox/delivery-plan.js';
import type { Context } from '../context.js';
import type { ForkSource } from './resume-handoff.js';

const MAILBOXES = [NETWORK_MAILBOX, CLOCK_MAILBOX, ENTROPY_MAILBOX, CREDENTIAL_MAILBOX] as const;
export type IdentityMailbox = (typeof MAILBOXES)[number];

/**
 * Where in a capture the mailboxes of an identity stand: all of them, or none. The guest takes them as one, so where one is
 * missing (an agent that does not know it, or died) nothing is delivered and the host calls the agent instead.
 */
export class IdentityPlan {
  private planned: Promise<ReadonlyMap<string, PlannedDelivery>> | undefined;

  constructor(private readonly context: Pick<Context, 'mailboxIndexes' | 'logger'>) {}

  /** Undefined where the agent is to be called. */
  async placeOf(
    mailbox: IdentityMailbox,
    source: ForkSource,
    signal: AbortSignal,
  ): Promise<PlannedDelivery | undefined> {
    this.planned ??= this.plan(source, signal);
    return (await this.planned).get(mailbox);
  }

  private async plan(
    { instance, capture, files }: ForkSource,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, PlannedDelivery>> {
    const { mailboxIndexes, logger } = this.context;
    const lookup = await mailboxIndexes.of(files, capture).lookup(MAILBOXES, signal);
    // The payloads are known only when the fork is; they are filled in then.
    const nothingYet = { token: undefined, contentType: 'json', payload: Buffer.alloc(0) } as const;
    try {
      const planned = planDeliveries(
        lookup,
        MAILBOXES.map((name) => ({ name, ...nothingYet })),
      );
      return new Map(planned.map((place) => [place.mailbox.name, place]));
    } catch (error) {
      if (!(error instanceof NotFound || error instanceof InvalidState)) throw error;
      logger.warn({ instance: instance.id, error: messageOf(error) }, 'forks get their identity over the channel');
      return new Map();
    }
  }
}
