import { closeSync } from 'node:fs';
import { accept, listenAt, POLL_IN, whenReady } from '../os/libc.js';
import type { ByteConnection, ByteSource } from './byte-source.js';
import { SocketConnection } from './socket-connection.js';

/** A socket of the agent to which the host connects. It listens from the first {@link open} on, and for good. */
export class SocketSource implements ByteSource {
  private listener: number | undefined;

  /**
   * @param addressOf `struct sockaddr_*` to listen at, asked for when it is needed; throws NotFound where there can be none
   * @param isHost whether a connection from this address is the host's; others are hung up on
   */
  constructor(
    private readonly addressOf: () => Buffer,
    private readonly isHost: (peer: Buffer) => boolean,
  ) {}

  async open(): Promise<ByteConnection> {
    this.listener ??= listenAt(this.addressOf());
    for (;;) {
      await whenReady([{ fd: this.listener, events: POLL_IN }]);
      // Of several that wait the last one is the host's present one.
      let newest: number | undefined;
      for (let next = accept(this.listener); next !== undefined; next = accept(this.listener)) {
        const { fd, peer } = next;
        if (!this.isHost(peer)) {
          closeSync(fd);
          continue;
        }
        if (newest !== undefined) closeSync(newest);
        newest = fd;
      }
      if (newest !== undefined) return new SocketConnection(newest, this.listener);
    }
  }
}
