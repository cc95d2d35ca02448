import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Unreachable, messageOf } from '@offshoot/shared/errors.js';

/**
 * A connection to a VMM that says nothing: it ends when the VMM does, which for one that is no child of this process nothing
 * else tells without a thread that waits.
 */
export class HangUp {
  private closedHere = false;
  /** Settles when the connection is gone: whether this side meant it. */
  readonly closed: Promise<{ readonly here: boolean }>;

  private constructor(private readonly socket: Socket) {
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        resolve({ here: this.closedHere });
      });
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.resume();
  }

  /** @throws Unreachable `VMM_GONE` when nobody listens; the signal's reason */
  static async of(path: string, signal?: AbortSignal): Promise<HangUp> {
    signal?.throwIfAborted();
    const socket = connect({ path });
    try {
      await once(socket, 'connect', signal === undefined ? {} : { signal });
      return new HangUp(socket);
    } catch (error) {
      socket.destroy();
      signal?.throwIfAborted();
      throw new Unreachable(`${path}: ${messageOf(error)}`, { reason: 'VMM_GONE', cause: error });
    }
  }

  close(): void {
    this.closedHere = true;
    this.socket.destroy();
  }
}
