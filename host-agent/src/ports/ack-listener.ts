import type { Ack } from '@offshoot/shared/mailbox/ack-line.js';
import type { InstanceId } from '../domain/ids.js';

/** What must be true of an acknowledgement for it to count. */
export interface AckExpectation {
  readonly mailbox: string;
  readonly generation: number;
  /** Nonce of the delivery. */
  readonly nonce: bigint;
  /** The fork that was delivered to. Over a channel only its own counts. */
  readonly instance: InstanceId;
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

/**
 * Where acknowledgements of all forks arrive, told apart by their nonce: on one UDP socket, and over each fork's channel.
 * Whichever way a delivery asks for, either is taken.
 */
export interface AckListener {
  readonly port: number;
  /** Registers before the guest runs, so that no ack comes too early. Dispose of it on every path. */
  expect(expectation: AckExpectation): PendingAck;
  /** Takes a line that came over an instance's channel. Returns the nonce that the guest is to be told of, if it counts. */
  hear(instance: InstanceId, line: Buffer): bigint | undefined;
  /** Datagrams and lines dropped so far, by reason. */
  readonly rejects: ReadonlyMap<string, number>;
  close(): Promise<void>;
}
