import type { RemoteInfo } from 'node:dgram';
import { Conflict, InvalidState, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import { formatAckOk } from '@offshoot/shared/mailbox/ack-line.js';
import { DgramAsPromised, type SocketAsPromised } from 'dgram-as-promised';
import type { Logger } from 'pino';
import type { InstanceId } from '../domain/ids.js';
import type { AckExpectation, AckListener, PendingAck } from '../ports/ack-listener.js';
import { ExpectedAcks } from './expected-acks.js';
import { RejectCounter } from './reject-counter.js';

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
  private readonly rejectCounter: RejectCounter;
  private readonly acks: ExpectedAcks;
  private answersInFlight = 0;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly socket: SocketAsPromised,
    private readonly logger: Logger,
  ) {
    this.rejectCounter = new RejectCounter(logger, 'what is no expected ack');
    this.acks = new ExpectedAcks(this.rejectCounter);
  }

  get rejects(): ReadonlyMap<string, number> {
    return this.rejectCounter.counts;
  }

  expect(expectation: AckExpectation): PendingAck {
    return this.acks.expect(expectation);
  }

  hear(instance: InstanceId, line: Buffer): bigint | undefined {
    return this.acks.take(line, { by: 'channel', instance });
  }

  receive(datagram: Buffer, from: RemoteInfo): void {
    const nonce = this.acks.take(datagram, { by: 'udp', address: from.address });
    if (nonce !== undefined) this.answer(nonce, from);
  }

  close(): Promise<void> {
    this.closing ??= this.socket.close();
    this.acks.close();
    return this.closing;
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
