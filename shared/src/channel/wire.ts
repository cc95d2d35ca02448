import { randomBytes } from 'node:crypto';
import { Corrupt } from '../errors.js';

/**
 * What travels on the byte channel between host agent and guest agent (virtio-serial, hybrid vsock): a sync marker with a
 * random session id, then data records of that session. The stream may be cut anywhere and continued by another peer: a
 * VM captured in the middle of a record wakes in a fork and goes on writing its second half to a host that never saw the
 * first. So a new session is recognised wherever its marker stands, and everything before it is discarded.
 *
 * sync:  `OFFSHOOT-SYNC-1\0` + session id, 16 lower-case hex digits. The host sends it; the guest answers with the same
 *        one. A guest agent that has just started sends one with {@link NO_SESSION}: please begin a session.
 * data:  0x01 + length (u32, little-endian, 1 to 64 KiB) + payload.
 * end:   0x02, this side of the session is over; nothing more follows until the next sync.
 *
 * The marker cannot occur inside a session: a payload that contains it is split inside it, and one that straddled two
 * records would have to contain the byte 0x01 that begins a record. Nor can it begin inside a session id, so a marker cut
 * after its first half is not completed by the next one.
 */
export const SYNC_MAGIC = Buffer.from('OFFSHOOT-SYNC-1\0', 'latin1');
export const SESSION_ID_LENGTH = 16;
export const MAX_RECORD_PAYLOAD = 64 * 1024;

/** The id that belongs to no session. */
export const NO_SESSION = '0'.repeat(SESSION_ID_LENGTH);

const DATA = 0x01;
const END = 0x02;
const HEADER_BYTES = 5;

export const newSessionId = (): string => randomBytes(SESSION_ID_LENGTH / 2).toString('hex');

export const encodeSync = (session: string): Buffer => Buffer.concat([SYNC_MAGIC, Buffer.from(session, 'latin1')]);

export const encodeEnd = (): Buffer => Buffer.from([END]);

/** Data records for `payload`, none of which contains the sync marker. */
export function encodeData(payload: Buffer): Buffer[] {
  const out: Buffer[] = [];
  for (let start = 0; start < payload.length;) {
    let end = Math.min(start + MAX_RECORD_PAYLOAD, payload.length);
    const marker = payload.subarray(start, end).indexOf(SYNC_MAGIC);
    if (marker >= 0) end = start + marker + 1;
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt8(DATA);
    header.writeUInt32LE(end - start, 1);
    out.push(header, payload.subarray(start, end));
    start = end;
  }
  return out;
}

export interface WireEvents {
  /** A session begins; all of the one before is void. */
  onSync(session: string): void;
  onData(payload: Buffer): void;
  /** The peer's side of the session is over. */
  onEnd(): void;
  /** The peer broke the format; the rest up to the next sync is discarded. */
  onCorrupt(error: Corrupt): void;
}

const isHexDigit = (byte: number): boolean => (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x66);

/**
 * Takes the raw stream in pieces of any size and calls back for what is in it. Holds no more than a record header; the
 * payloads it hands on are views of the pieces pushed.
 */
export class WireDecoder {
  /**
   * Last bytes seen, for a marker that straddles two pieces. They have been handed on already: if they turn out to be the
   * beginning of a marker, the session they went to is over anyway.
   */
  private tail: Buffer = Buffer.alloc(0);
  /** The digits of a session id read so far; undefined outside a marker. */
  private session: string | undefined;
  private discarding = true;
  private header: Buffer = Buffer.alloc(0);
  private payloadLeft = 0;

  constructor(private readonly events: WireEvents) {}

  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.session !== undefined) {
        rest = this.readSession(this.session, rest);
        continue;
      }
      const joined = this.tail.length === 0 ? rest : Buffer.concat([this.tail, rest]);
      const marker = joined.indexOf(SYNC_MAGIC);
      if (marker < 0) {
        this.feed(rest);
        // A copy: a view would keep the whole piece in memory.
        this.tail = Buffer.from(joined.subarray(-(SYNC_MAGIC.length - 1)));
        return;
      }
      const before = marker - this.tail.length;
      if (before > 0) this.feed(rest.subarray(0, before));
      rest = joined.subarray(marker + SYNC_MAGIC.length);
      this.tail = Buffer.alloc(0);
      this.session = '';
      this.discarding = true; // whatever the id turns out to be, the session before is over
    }
  }

  /** Returns what is left of `chunk` after the id, or after it proved to be none (a marker cut short). */
  private readSession(soFar: string, chunk: Buffer): Buffer {
    const wanted = SESSION_ID_LENGTH - soFar.length;
    let digits = 0;
    for (; digits < Math.min(wanted, chunk.length); digits++) if (!isHexDigit(chunk[digits] ?? 0)) break;
    const session = soFar + chunk.toString('latin1', 0, digits);
    const rest = chunk.subarray(digits);
    this.session = session.length < SESSION_ID_LENGTH && rest.length === 0 ? session : undefined;
    if (session.length === SESSION_ID_LENGTH) {
      this.header = Buffer.alloc(0);
      this.payloadLeft = 0;
      this.discarding = false;
      this.events.onSync(session);
    }
    return rest;
  }

  private feed(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0 && !this.discarding) {
      if (this.payloadLeft > 0) {
        const part = rest.subarray(0, this.payloadLeft);
        this.payloadLeft -= part.length;
        rest = rest.subarray(part.length);
        this.events.onData(part);
      } else if (this.header.length === 0 && rest[0] === END) {
        this.discarding = true;
        this.events.onEnd();
      } else {
        const missing = HEADER_BYTES - this.header.length;
        this.header = Buffer.concat([this.header, rest.subarray(0, missing)]);
        rest = rest.subarray(missing);
        if (this.header[0] !== DATA) this.giveUp(`record type ${String(this.header[0])}`);
        else if (this.header.length === HEADER_BYTES) this.takeHeader(this.header.readUInt32LE(1));
      }
    }
  }

  private takeHeader(length: number): void {
    this.header = Buffer.alloc(0);
    if (length < 1 || length > MAX_RECORD_PAYLOAD) this.giveUp(`record of ${String(length)} bytes`);
    else this.payloadLeft = length;
  }

  private giveUp(what: string): void {
    this.discarding = true;
    this.header = Buffer.alloc(0);
    this.payloadLeft = 0;
    this.events.onCorrupt(new Corrupt(`channel: ${what}`, { reason: 'CHANNEL_CORRUPT' }));
  }
}
