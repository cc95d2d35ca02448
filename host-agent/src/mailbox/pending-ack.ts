import { setMaxListeners } from 'node:events';
import { Aborted, Timeout, Unreachable, type OffshootError } from '@offshoot/shared/errors.js';
import type { Ack } from '@offshoot/shared/mailbox/ack-line.js';
import type { AckExpectation, PendingAck } from '../ports/ack-listener.js';

interface Waiter {
  resolve(ack: Ack): void;
  reject(error: OffshootError): void;
}

/** One expected ack: keeps the guest's final word until somebody asks for it, and lets no wait hang. */
export class ExpectedAck implements PendingAck {
  private final: Ack | undefined;
  private over: (() => OffshootError) | undefined;
  private readonly waiters = new Set<Waiter>();

  constructor(
    readonly expectation: AckExpectation,
    private readonly onDispose: (self: ExpectedAck) => void,
  ) {}

  /** A valid ack came. `received` is only a sign of life; of final words the first counts, the rest are repeats. */
  take(ack: Ack): void {
    if (ack.stage === 'received' || this.final !== undefined) return;
    this.final = ack;
    for (const waiter of this.waiters) waiter.resolve(ack);
  }

  async wait(signal: AbortSignal): Promise<Ack> {
    if (this.final !== undefined) return this.final;
    if (this.over !== undefined) throw this.over();
    if (signal.aborted) throw this.timeout(signal);
    let waiter: Waiter | undefined;
    let onAbort: (() => void) | undefined;
    try {
      return await new Promise<Ack>((resolve, reject) => {
        waiter = { resolve, reject };
        this.waiters.add(waiter);
        onAbort = () => {
          reject(this.timeout(signal));
        };
        setMaxListeners(0, signal); // a fork's 17 waits share one deadline: that is no leak
        signal.addEventListener('abort', onAbort, { once: true });
      });
    } finally {
      if (waiter !== undefined) this.waiters.delete(waiter);
      if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
    }
  }

  [Symbol.dispose](): void {
    this.end(
      () =>
        new Aborted(`nobody waits any more for the ack of mailbox ${this.expectation.mailbox}`, {
          reason: 'ACK_WAIT_ENDED',
          metadata: { mailbox: this.expectation.mailbox },
        }),
    );
    this.onDispose(this);
  }

  /** The listener closes. */
  listenerClosed(): void {
    this.end(listenerClosed);
  }

  private end(over: () => OffshootError): void {
    this.over ??= over;
    for (const waiter of this.waiters) waiter.reject(over());
  }

  private timeout(signal: AbortSignal): Timeout {
    const { mailbox, generation } = this.expectation;
    return new Timeout(`the guest did not acknowledge the delivery to mailbox ${mailbox} in time`, {
      reason: 'ACK_TIMEOUT',
      metadata: { mailbox, generation: String(generation) },
      cause: signal.reason,
    });
  }
}

export const listenerClosed = (): Unreachable =>
  new Unreachable('the ack listener is closed: the daemon is stopping', { reason: 'ACK_LISTENER_CLOSED' });
