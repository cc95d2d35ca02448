import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { requestPort } from './hybrid-vsock.js';

/** How long a guest has to take its part in ending a connection, in milliseconds: its kernel does it, in well under one. */
const HANG_UP_LIMIT_MS = 250;

/** A connection to a port of a guest that is there before the guest has accepted it: what is written waits for that. */
export class VsockConnection extends Duplex {
  private readonly ending = new AbortController();
  private accepted = false;

  /** @param mayAsk when it ends the guest is asked to accept */
  constructor(
    private readonly socket: Socket,
    private readonly port: number,
    private readonly mayAsk: Promise<void>,
  ) {
    super({ allowHalfOpen: false });
    // Until the guest has accepted, whoever waits for that tells why it will not.
    socket.on('error', (error) => {
      if (this.accepted) this.destroy(error);
    });
    socket.once('close', () => {
      if (this.accepted) this.destroy();
    });
  }

  /**
   * Ends the connection so that the guest's kernel knows nothing of it any more, as far as a guest that runs can be brought to
   * that. Half of it is closed here, for which the VMM closes both ways to the guest; the guest's kernel confirms
   * that, without its programs, and then the VMM hangs up.
   */
  async hangUp(): Promise<void> {
    if (this.accepted && !this.socket.destroyed) {
      const closed = once(this.socket, 'close', { signal: AbortSignal.timeout(HANG_UP_LIMIT_MS) });
      this.socket.end();
      this.socket.resume(); // unread bytes would hide the end
      await closed.catch(() => undefined);
    }
    this.destroy();
  }

  override _construct(callback: (error?: Error | null) => void): void {
    this.ask().then(
      () => {
        callback();
      },
      (error: unknown) => {
        callback(this.ending.signal.aborted ? null : (error as Error));
      },
    );
  }

  override _read(): void {
    this.socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.socket.write(chunk, callback);
  }

  override _writev(
    chunks: readonly { readonly chunk: Buffer; readonly encoding: BufferEncoding }[],
    callback: (error?: Error | null) => void,
  ): void {
    this.socket.write(Buffer.concat(chunks.map(({ chunk }) => chunk)), callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.socket.end(callback);
  }

  /** Node would let one that waits for the guest wait on. */
  override destroy(error?: Error): this {
    this.ending.abort(error);
    this.socket.destroy();
    return super.destroy(error);
  }

  private async ask(): Promise<void> {
    const { signal } = this.ending;
    await Promise.race([this.mayAsk, once(this.socket, 'close')]);
    signal.throwIfAborted();
    await requestPort(this.socket, this.port, signal);
    this.accepted = true;
    this.socket.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) this.socket.pause();
    });
    this.socket.on('end', () => this.push(null));
  }
}
