import { Corrupt } from '@offshoot/shared/errors.js';

/** Largest message taken from a guest: the set of 256 mailboxes with 64 segments each stays under 200 KiB. */
export const MAX_GUEST_MESSAGE = 256 * 1024;

/** Compression flag (1 byte) and length (u32, big-endian) before each message, as gRPC over HTTP/2 has it. */
const PREFIX_BYTES = 5;

export function encodeMessage(message: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** Cuts the bytes of an HTTP/2 stream into messages; holds no more than one of them. */
export class GuestMessageReader {
  private pieces: Buffer[] = [];
  private held = 0;

  /** The messages completed by `chunk`. @throws Corrupt for a compressed or oversized one */
  push(chunk: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    this.pieces.push(chunk);
    this.held += chunk.length;
    for (let length = this.nextLength(); length !== undefined; length = this.nextLength()) {
      const joined = Buffer.concat(this.pieces);
      messages.push(joined.subarray(PREFIX_BYTES, length));
      this.pieces = [joined.subarray(length)];
      this.held -= length;
    }
    return messages;
  }

  /** Whether the stream ended between two messages. */
  get empty(): boolean {
    return this.held === 0;
  }

  /** Bytes of the next message with its prefix; undefined until all of it is here. */
  private nextLength(): number | undefined {
    if (this.held < PREFIX_BYTES) return undefined;
    let first = this.pieces[0] ?? Buffer.alloc(0);
    if (first.length < PREFIX_BYTES) {
      first = Buffer.concat(this.pieces);
      this.pieces = [first];
    }
    if (first.readUInt8(0) !== 0) throw new Corrupt('guest: compressed message', { reason: 'GUEST_MESSAGE_CORRUPT' });
    const length = first.readUInt32BE(1);
    if (length > MAX_GUEST_MESSAGE)
      throw new Corrupt(`guest: message of ${String(length)} bytes, at most ${String(MAX_GUEST_MESSAGE)} are taken`, {
        reason: 'GUEST_MESSAGE_TOO_LARGE',
      });
    return this.held < PREFIX_BYTES + length ? undefined : PREFIX_BYTES + length;
  }
}
