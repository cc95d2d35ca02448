import { Conflict } from '@offshoot/shared/errors.js';
import { parseAck, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import type { InstanceId } from '../domain/ids.js';
import type { AckExpectation, PendingAck } from '../ports/ack-listener.js';
import { ExpectedAck, listenerClosed } from './pending-ack.js';
import type { RejectCounter } from './reject-counter.js';

/** Where an ack came from: as a datagram from an address, or over the channel of an instance, which cannot be another's. */
export type AckSource =
  { readonly by: 'udp'; readonly address: string } | { readonly by: 'channel'; readonly instance: InstanceId };

/** Why a well-formed ack is not the one that is waited for. */
type Mismatch = 'unknown-nonce' | 'wrong-source' | 'wrong-mailbox' | 'wrong-generation';

/** Finished deliveries whose guests may still repeat because an answer was lost; the oldest is forgotten first. */
const REMEMBERED = 4096;

/**
 * The acks that are waited for, whichever way they come: one parser, one comparison, one wait. A delivery can be answered by
 * datagram and over the channel; the first final word counts.
 */
export class ExpectedAcks {
  private readonly expected = new Map<bigint, ExpectedAck>();
  private readonly finished = new Map<bigint, AckExpectation>();
  private closed = false;

  constructor(private readonly rejects: RejectCounter) {}

  /** @throws Unreachable after {@link close}; Conflict when the nonce is expected already */
  expect(expectation: AckExpectation): PendingAck {
    if (this.closed) throw listenerClosed();
    const { nonce, mailbox } = expectation;
    if (this.expected.has(nonce))
      throw new Conflict(`an ack for mailbox ${mailbox} with this nonce is waited for already`, {
        reason: 'ACK_NONCE_TAKEN',
      });
    const pending = new ExpectedAck(expectation, (self) => {
      this.finish(self);
    });
    this.expected.set(nonce, pending);
    return pending;
  }

  /** Takes what a guest said; anything but an expected ack is counted and dropped. Returns the nonce that is to be confirmed. */
  take(line: Buffer, source: AckSource): bigint | undefined {
    const parse = parseAck(line);
    if (!parse.ok) {
      this.rejects.count(parse.reject);
      return undefined;
    }
    const { ack } = parse;
    const pending = this.expected.get(ack.nonce);
    const mismatch = mismatchOf(ack, source, pending?.expectation ?? this.finished.get(ack.nonce));
    if (mismatch !== undefined) {
      this.rejects.count(mismatch);
      return undefined;
    }
    pending?.take(ack);
    return ack.nonce;
  }

  /** Ends every wait; none begins any more. */
  close(): void {
    this.closed = true;
    for (const pending of this.expected.values()) pending.listenerClosed();
    this.expected.clear();
  }

  private finish(pending: ExpectedAck): void {
    const { nonce } = pending.expectation;
    if (this.expected.get(nonce) !== pending) return; // disposed of before
    this.expected.delete(nonce);
    this.finished.set(nonce, pending.expectation);
    const [oldest] = this.finished.keys();
    if (this.finished.size > REMEMBERED && oldest !== undefined) this.finished.delete(oldest);
  }
}

function mismatchOf(ack: Ack, source: AckSource, expected: AckExpectation | undefined): Mismatch | undefined {
  if (expected === undefined) return 'unknown-nonce';
  // First of all: a neighbour learns nothing from how far it got.
  if (!mayComeFrom(expected, source)) return 'wrong-source';
  if (ack.mailbox !== expected.mailbox) return 'wrong-mailbox';
  if (ack.generation !== expected.generation) return 'wrong-generation';
  return undefined;
}

function mayComeFrom({ fromAddress, instance }: AckExpectation, source: AckSource): boolean {
  if (source.by === 'channel') return source.instance === instance;
  return fromAddress === undefined || fromAddress === source.address;
}
