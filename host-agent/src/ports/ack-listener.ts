import type { Ack } from '@offshoot/shared/mailbox/ack-line.js';

/** What must be true of an acknowledgement for it to count. */
export interface AckExpectation {
  readonly mailbox: string;
  readonly generation: number;
  /** Nonce of the delivery. */
  readonly nonce: bigint;
  /** Only datagrams from this address count; undefined where the hypervisor hides the guest's. */
  readonly fromAddress?: string;
}

export interface PendingAck extends Disposable {
  /**
   * The guest's last word: `applied`, or `failed`. `received` is answered and waited past.
   * @throws Timeout when the signal ends first
   */
  wait(signal: AbortSignal): Promise<Ack>;
}

/** The one socket on which acknowledgements of all forks arrive, told apart by their nonce. */
export interface AckListener {
  readonly port: number;
  /** Registers before the guest runs, so that no ack comes too early. Dispose of it on every path. */
  expect(expectation: AckExpectation): PendingAck;
  /** Datagrams dropped so far, by reason. */
  readonly rejects: ReadonlyMap<string, number>;
  close(): Promise<void>;
}
