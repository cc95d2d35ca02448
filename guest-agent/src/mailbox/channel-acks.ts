import { formatAck, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { ACK_GIVE_UP_MS, ackSuperseded, ackUnconfirmed } from './ack-outcome.js';

/** An acknowledgement on its way; another stage of the same delivery is another one. */
export interface AckUnderWay {
  readonly line: Buffer;
}

interface Waiting extends AckUnderWay {
  settle(error?: Error): void;
}

/**
 * Acknowledgements over the channel to the host. The host asks for them with a standing call and confirms each by its nonce;
 * the wire loses nothing within a session, so one is said again only in the next. There are no more of them than unanswered
 * requests of local clients and deliveries: each goes when whoever sends it gives up.
 */
export class ChannelAcks {
  private readonly waiting = new Map<bigint, Waiting>();
  private readonly listeners = new Set<() => void>();

  /** Those that are not confirmed yet, the oldest first. */
  get underWay(): Iterable<AckUnderWay> {
    return this.waiting.values();
  }

  /** Calls back after each new one, until the returned function is called. */
  onNew(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /**
   * Resolves when the host has confirmed the ack.
   * @throws Timeout after 30 s; Aborted when the signal ends first or another of the same delivery replaces it
   */
  send(ack: Ack, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        waiting.settle(ackSuperseded());
      };
      const limit = setTimeout(() => {
        waiting.settle(ackUnconfirmed());
      }, ACK_GIVE_UP_MS);
      const waiting: Waiting = {
        line: Buffer.from(formatAck(ack), 'latin1'),
        settle: (error) => {
          clearTimeout(limit);
          signal.removeEventListener('abort', onAbort);
          this.waiting.delete(ack.nonce);
          if (error === undefined) resolve();
          else reject(error);
        },
      };
      this.waiting.get(ack.nonce)?.settle(ackSuperseded());
      this.waiting.set(ack.nonce, waiting);
      if (signal.aborted) {
        onAbort();
        return;
      }
      signal.addEventListener('abort', onAbort);
      for (const listener of [...this.listeners]) listener();
    });
  }

  /** The host has heard these; one that is not under way any more is no matter. */
  confirm(nonces: Iterable<bigint>): void {
    for (const nonce of nonces) this.waiting.get(nonce)?.settle();
  }
}
