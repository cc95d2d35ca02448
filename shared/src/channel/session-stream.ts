import { Duplex } from 'node:stream';
import { encodeData, encodeEnd } from './wire.js';

/** What a session needs of the raw channel under it. */
export interface RawChannel {
  /** Writes buffers in order; calls back when the channel can take more. */
  write(buffers: readonly Buffer[], done: (error?: Error | null) => void): void;
  /** The reader is full; no more `receive` until {@link resumeReading}. */
  pauseReading(): void;
  resumeReading(): void;
}

/**
 * One session on the byte channel as an ordinary stream, which gRPC's HTTP/2 runs over. The raw channel behind it is
 * shared by all sessions: destroying a session neither closes nor stops it.
 */
export class SessionStream extends Duplex {
  private ended = false;

  constructor(private readonly raw: RawChannel) {
    super({ allowHalfOpen: false });
  }

  /** Hands in payload from the wire. */
  receive(payload: Buffer): void {
    if (this.destroyed || this.ended) return;
    if (!this.push(payload)) this.raw.pauseReading();
  }

  /** The peer ended its side. */
  receiveEnd(): void {
    if (this.destroyed || this.ended) return;
    this.ended = true;
    this.push(null);
  }

  override _read(): void {
    this.raw.resumeReading();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.raw.write(encodeData(chunk), callback);
  }

  override _writev(
    chunks: { chunk: Buffer; encoding: BufferEncoding }[],
    callback: (error?: Error | null) => void,
  ): void {
    this.raw.write(
      chunks.flatMap(({ chunk }) => encodeData(chunk)),
      callback,
    );
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.raw.write([encodeEnd()], callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.raw.resumeReading(); // a full reader that went away must not stop the channel
    callback(error);
  }
}
