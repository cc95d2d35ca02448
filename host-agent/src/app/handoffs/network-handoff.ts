import { Timeout } from '@offshoot/shared/errors.js';
import { NETWORK_MAILBOX } from '@offshoot/shared/mailbox/frame-layout.js';
import { deliver } from '../../mailbox/delivery.js';
import type { PlannedDelivery } from '../../mailbox/delivery-plan.js';
import type { PendingAck } from '../../ports/ack-listener.js';
import type { GuestMemory } from '../../ports/driver.js';
import type { Context } from '../context.js';
import { ackPathOf } from './ack-route.js';
import { awaitAck } from './awaited-ack.js';
import { forkIdentity, networkPayload } from './fork-identity.js';
import type { IdentityPlan } from './identity-plan.js';
import type { ForkSource, NewFork, ResumeHandoff, ResumedFork } from './resume-handoff.js';

/** After this long without an ack the agent is asked over its channel, in milliseconds; on TCG an ack takes up to 700. */
const SILENT_AFTER_MS = 2000;

/**
 * Gives the fork its addresses and names: through the reserved mailbox, so that the guest has them with its first instruction.
 * Where that mailbox is missing or stays silent, the host calls the agent instead, and gives it the whole identity.
 */
export class NetworkHandoff implements ResumeHandoff {
  readonly name = 'network';
  /** From the resume to the network being in force, in milliseconds; 0 where it was not waited for. */
  latencyMs = 0;
  private planned: PlannedDelivery | undefined;
  private pending: PendingAck | undefined;
  private fork: NewFork | undefined;

  constructor(
    private readonly context: Context,
    private readonly plan: IdentityPlan,
    private readonly options: { readonly wait: boolean; readonly timeoutMs: number },
  ) {}

  async prepare(source: ForkSource, signal: AbortSignal): Promise<void> {
    this.planned = await this.plan.placeOf(NETWORK_MAILBOX, source, signal);
  }

  async apply(memory: GuestMemory, fork: NewFork): Promise<void> {
    this.fork = fork;
    if (this.planned === undefined) return;
    const { ack, from } = ackPathOf(this.context, fork.instance);
    const payload = networkPayload(fork.instance);
    const [delivered] = await deliver(memory, [{ planned: { ...this.planned, payload }, ack }]);
    if (delivered === undefined) return;
    this.pending = this.context.acks.expect({ ...delivered, ...from });
  }

  async afterResume({ link, resumedAt }: ResumedFork, signal: AbortSignal): Promise<void> {
    if (!this.options.wait || this.fork === undefined) return;
    const { timeoutMs } = this.options;
    const byAgent = new AbortController();
    try {
      const ways = [this.callAgent(link, this.fork, AbortSignal.any([signal, byAgent.signal]))];
      if (this.pending !== undefined)
        ways.push(awaitAck(this.pending, NETWORK_MAILBOX, timeoutMs, signal).then(() => undefined));
      await Promise.any(ways);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof AggregateError ? (error.errors.at(-1) as Error) : error;
    } finally {
      byAgent.abort();
    }
    this.latencyMs = performance.now() - resumedAt;
  }

  [Symbol.dispose](): void {
    this.pending?.[Symbol.dispose]();
  }

  /** The way back: used when the mailbox does not answer in good time, at once when there is none. */
  private async callAgent(link: ResumedFork['link'], fork: NewFork, signal: AbortSignal): Promise<void> {
    const limit = AbortSignal.timeout(this.options.timeoutMs);
    if (this.pending !== undefined) await elapsed(Math.min(SILENT_AFTER_MS, this.options.timeoutMs), signal);
    try {
      await link.reconfigureNetwork(forkIdentity(fork.instance, fork.credential), AbortSignal.any([signal, limit]));
    } catch (error) {
      signal.throwIfAborted();
      if (!limit.aborted) throw error;
      throw new Timeout(`the guest did not take its address within ${String(this.options.timeoutMs)} ms`, {
        reason: 'NETWORK_TIMEOUT',
        cause: error,
      });
    }
  }
}

/** Resolves after `ms`; rejects when the signal ends first. */
function elapsed(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, ms);
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
