import type { RemoteInfo } from 'node:dgram';
import { Conflict, InvalidState, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import { formatAckOk, parseAck, type Ack, type AckReject } from '@offshoot/shared/mailbox/ack-line.js';
import { DgramAsPromised, type SocketAsPromised } from 'dgram-as-promised';
import type { Logger } from 'pino';
import type { AckExpectation, AckListener, PendingAck } from '../ports/ack-listener.js';
import { ExpectedAck, listenerClosed } from './pending-ack.js';
import { RejectCounter } from './reject-counter.js';

/** Why a well-formed ack is not the one that is waited for. */
type Mismatch = 'unknown-nonce' | 'wrong-source' | 'wrong-mailbox' | 'wrong-generation';

/** Finished deliveries whose guests may still repeat because an answer was lost; the oldest is forgotten first. */
const REMEMBERED = 4096;

/** Answers handed to the kernel and not yet sent. Beyond it they are left out: the guest repeats. */
const MAX_ANSWERS_IN_FLIGHT = 256;

/** Room for a thousand forks answering at once; the kernel caps it at net.core.rmem_max. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

/**
 * Opens the one UDP socket on which guests acknowledge. `port` 0 lets the kernel choose.
 * @throws Conflict when the port is taken, InvalidState when the address cannot be bound
 */
export async function openUdpAckListener(options: {
  address: string;
  port?: number;
  logger: Logger;
}): Promise<AckListener> {
  const { address, port = 0, logger } = options;
  // A callback, not the library's recv(): that listens for one datagram at a time and loses those in between.
  const socket: SocketAsPromised = DgramAsPromised.createSocket(
    { type: 'udp4', recvBufferSize: RECEIVE_BUFFER_BYTES },
    (datagram, from) => {
      listener.receive(datagram, from);
    },
  );
  const listener = new UdpAckListener(socket, logger);
  try {
    listener.port = (await socket.bind(port, address)).port;
  } catch (cause) {
    await socket.close();
    if (errnoOf(cause) === 'EADDRINUSE')
      throw new Conflict(`UDP port ${String(port)} of ${address} is taken`, { reason: 'ACK_PORT_TAKEN', cause });
    throw new InvalidState(`cannot listen for acks on ${address}: ${messageOf(cause)}`, {
      reason: 'ACK_ADDRESS_UNUSABLE',
      cause,
    });
  }
  return listener;
}

class UdpAckListener implements AckListener {
  port = 0;
  private readonly expected = new Map<bigint, ExpectedAck>();
  private readonly finished = new Map<bigint, AckExpectation>();
  private readonly rejectCounter: RejectCounter;
  private answersInFlight = 0;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly socket: SocketAsPromised,
    private readonly logger: Logger,
  ) {
    this.rejectCounter = new RejectCounter(logger, 'a datagram that is no expected ack');
  }

  get rejects(): ReadonlyMap<string, number> {
    return this.rejectCounter.counts;
  }

  expect(expectation: AckExpectation): PendingAck {
    if (this.closing !== undefined) throw listenerClosed();
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

  receive(datagram: Buffer, from: RemoteInfo): void {
    const parse = parseAck(datagram);
    if (!parse.ok) {
      this.reject(parse.reject);
      return;
    }
    const { ack } = parse;
    const pending = this.expected.get(ack.nonce);
    const mismatch = mismatchOf(ack, from.address, pending?.expectation ?? this.finished.get(ack.nonce));
    if (mismatch !== undefined) {
      this.reject(mismatch);
      return;
    }
    pending?.take(ack);
    this.answer(ack.nonce, from);
  }

  close(): Promise<void> {
    this.closing ??= this.socket.close();
    for (const pending of this.expected.values()) pending.listenerClosed();
    this.expected.clear();
    return this.closing;
  }

  private finish(pending: ExpectedAck): void {
    const { nonce } = pending.expectation;
    if (this.expected.get(nonce) !== pending) return; // disposed of before
    this.expected.delete(nonce);
    this.finished.set(nonce, pending.expectation);
    const [oldest] = this.finished.keys();
    if (this.finished.size > REMEMBERED && oldest !== undefined) this.finished.delete(oldest);
  }

  private reject(reason: AckReject | Mismatch): void {
    this.rejectCounter.count(reason);
  }

  /** Every valid ack is answered, repeats too: the guest goes on until it hears. */
  private answer(nonce: bigint, { address, port }: RemoteInfo): void {
    if (this.closing !== undefined || this.answersInFlight >= MAX_ANSWERS_IN_FLIGHT) return;
    this.answersInFlight++;
    this.socket
      .send(formatAckOk(nonce), port, address)
      .catch((error: unknown) => {
        this.logger.debug({ error: messageOf(error) }, 'could not answer an ack; the guest repeats');
      })
      .finally(() => {
        this.answersInFlight--;
      });
  }
}

function mismatchOf(ack: Ack, source: string, expected: AckExpectation | undefined): Mismatch | undefined {
  if (expected === undefined) return 'unknown-nonce';
  // First of all: a neighbour learns nothing from how far it got.
  if (expected.fromAddress !== undefined && expected.fromAddress !== source) return 'wrong-source';
  if (ack.mailbox !== expected.mailbox) return 'wrong-mailbox';
  if (ack.generation !== expected.generation) return 'wrong-generation';
  return undefined;
}
