import { setTimeout as delay } from 'node:timers/promises';
import { DgramAsPromised, type SocketAsPromised } from 'dgram-as-promised';
import { formatAck, parseAckOk, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { ACK_GIVE_UP_MS, ackSuperseded, ackUnconfirmed } from './ack-outcome.js';

export interface AckTarget {
  readonly address: string;
  readonly port: number;
}

/** A datagram sent right after an address change is dropped without an error, and the first often is: hence the repeats. */
const FIRST_PAUSE_MS = 5;
const MAX_PAUSE_MS = 1000;

/** Sends acknowledgements over UDP, each again and again until the host has heard it. */
export class UdpAcks implements AsyncDisposable {
  private readonly confirmed = new Map<bigint, AbortController>();

  private constructor(private readonly socket: SocketAsPromised) {
    socket.socket.on('message', (datagram) => {
      const nonce = parseAckOk(datagram);
      if (nonce !== undefined) this.confirmed.get(nonce)?.abort();
    });
    socket.socket.on('error', () => undefined); // a send that fails is a datagram lost: it is repeated
  }

  /** Opened before it is needed: what is set up before a capture is there in every fork. */
  static async open(): Promise<UdpAcks> {
    const socket = DgramAsPromised.createSocket({
      type: 'udp4',
      // Node looks every address up, one in digits too, and sends only in a later turn: after all that a wake does besides.
      lookup: (address, _options, callback) => {
        callback(null, address, 4);
      },
    });
    await socket.bind(0);
    return new UdpAcks(socket);
  }

  /**
   * Resolves when the host has confirmed the ack. The first datagram leaves before this returns.
   * @throws Timeout after 30 s; Aborted when the signal ends first (a newer delivery, a disposed mailbox)
   */
  async send(ack: Ack, target: AckTarget, signal: AbortSignal): Promise<void> {
    const line = Buffer.from(formatAck(ack), 'latin1');
    // Before anything else: under emulation the first run of all that follows costs more than the way to the host.
    let sent: Promise<unknown> = this.socket.send(line, target.port, target.address);
    const heard = new AbortController();
    this.confirmed.get(ack.nonce)?.abort(); // a later stage of the same delivery replaces the earlier one
    this.confirmed.set(ack.nonce, heard);
    const stop = AbortSignal.any([heard.signal, signal]);
    const deadline = performance.now() + ACK_GIVE_UP_MS;
    try {
      for (let pause = FIRST_PAUSE_MS; performance.now() < deadline; pause = Math.min(2 * pause, MAX_PAUSE_MS)) {
        await sent.catch(() => undefined);
        await delay(pause, undefined, { signal: stop }).catch(() => undefined);
        if (heard.signal.aborted) return;
        if (signal.aborted) throw ackSuperseded();
        sent = this.socket.send(line, target.port, target.address);
      }
      await sent.catch(() => undefined);
      throw ackUnconfirmed();
    } finally {
      if (this.confirmed.get(ack.nonce) === heard) this.confirmed.delete(ack.nonce);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.socket.close();
  }
}
