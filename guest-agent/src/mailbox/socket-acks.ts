import { closeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_ACK_BYTES, formatAck, parseAckOk, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { hostPort } from '../channel/vsock-address.js';
import { POLL_IN, POLL_OUT, connectTo, receive, shutdownSocket, socketError, transmit, whenReady } from '../os/libc.js';
import { ACK_GIVE_UP_MS, ackSuperseded, ackUnconfirmed } from './ack-outcome.js';

/** Between two tries, in milliseconds: the host was not there, or hung up. */
const FIRST_PAUSE_MS = 5;
const MAX_PAUSE_MS = 1000;

const NEWLINE = 10;

/**
 * Sends acknowledgements over vsock: a connection to a port of the host for each, on which the line and its answer end in a
 * newline. Nothing gets lost on it; a connection that fails (a fork's first may be of its source's time) is made anew.
 */
export class SocketAcks {
  /** @param addressOf `struct sockaddr_*` of a port of the host */
  constructor(private readonly addressOf: (port: number) => Buffer = hostPort) {}

  /**
   * Resolves when the host has confirmed the ack.
   * @throws Timeout after 30 s; Aborted when the signal ends first (a newer delivery, a disposed mailbox)
   */
  async send(ack: Ack, port: number, signal: AbortSignal): Promise<void> {
    const limit = AbortSignal.timeout(ACK_GIVE_UP_MS);
    const stop = AbortSignal.any([signal, limit]);
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, MAX_PAUSE_MS)) {
      // Also a connection that broke while nobody wanted it any more.
      if (!stop.aborted && (await this.isHeard(ack, port, stop).catch(() => false))) return;
      await delay(pause, undefined, { signal: stop }).catch(() => undefined);
      if (signal.aborted) throw ackSuperseded();
      if (limit.aborted) throw ackUnconfirmed();
    }
  }

  private async isHeard(ack: Ack, port: number, signal: AbortSignal): Promise<boolean> {
    const fd = connectTo(this.addressOf(port));
    const hangUp = (): void => {
      shutdownSocket(fd); // wakes whoever waits for it
    };
    signal.addEventListener('abort', hangUp);
    try {
      await whenReady([{ fd, events: POLL_OUT }]);
      const failure = socketError(fd);
      if (failure !== undefined) throw failure;
      await sendAll(fd, Buffer.from(`${formatAck(ack)}\n`, 'latin1'));
      return parseAckOk(await lineFrom(fd)) === ack.nonce;
    } finally {
      signal.removeEventListener('abort', hangUp);
      closeSync(fd);
    }
  }
}

async function sendAll(fd: number, bytes: Buffer): Promise<void> {
  for (let rest = bytes; rest.length > 0;) {
    const count = transmit(fd, rest);
    if (count === undefined) await whenReady([{ fd, events: POLL_OUT }]);
    else rest = rest.subarray(count);
  }
}

/** The bytes before the first newline; what came until the connection ended, or was too long, where there is none. */
async function lineFrom(fd: number): Promise<Buffer> {
  const into = Buffer.alloc(MAX_ACK_BYTES);
  let length = 0;
  while (length < into.length) {
    const count = receive(fd, into.subarray(length));
    if (count === 0) break;
    if (count === undefined) {
      await whenReady([{ fd, events: POLL_IN }]);
      continue;
    }
    const end = into.subarray(0, length + count).indexOf(NEWLINE);
    if (end >= 0) return into.subarray(0, end);
    length += count;
  }
  return into.subarray(0, length);
}
