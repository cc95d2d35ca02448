import { closeSync } from 'node:fs';
import { messageOf } from '@offshoot/shared/errors.js';
import { log } from '../log.js';
import { POLL_IN, POLL_OUT, receive, shutdownSocket, transmit, whenReady } from '../os/libc.js';
import type { ByteConnection } from './byte-source.js';

/**
 * A connection the host made to a socket of the agent. Node cannot wait for sockets of families it does not know, so a thread
 * of its pool does; and in the same call for another connection, because the host has but one: where it makes a new one, the
 * one before is a thing of the past. A fork of a guest that was captured with an open one may never be told that
 * that has ended.
 */
export class SocketConnection implements ByteConnection {
  readonly outlivesAgent = false;
  private writing: Promise<unknown> = Promise.resolve();
  private closed = false;

  constructor(
    private readonly fd: number,
    private readonly listener: number,
  ) {}

  async read(into: Buffer): Promise<number | undefined> {
    for (;;) {
      const [isNewer] = await whenReady([
        { fd: this.listener, events: POLL_IN },
        { fd: this.fd, events: POLL_IN },
      ]);
      if (isNewer === true) return undefined;
      try {
        const count = receive(this.fd, into);
        if (count !== undefined) return count === 0 ? undefined : count;
      } catch (error) {
        log(`channel: ${messageOf(error)}`);
        return undefined;
      }
    }
  }

  write(bytes: Buffer): Promise<number> {
    const written = this.writeSome(bytes);
    this.writing = written.catch(() => undefined);
    return written;
  }

  async close(): Promise<void> {
    this.closed = true;
    shutdownSocket(this.fd);
    await this.writing; // its number may be another's as soon as it is closed
    closeSync(this.fd);
  }

  private async writeSome(bytes: Buffer): Promise<number> {
    for (;;) {
      if (this.closed) throw new Error('the connection is closed');
      const count = transmit(this.fd, bytes);
      if (count !== undefined) return count;
      await whenReady([{ fd: this.fd, events: POLL_OUT }]);
    }
  }
}
