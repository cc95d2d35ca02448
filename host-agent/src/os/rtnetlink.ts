import { closeSync, readSync, writeSync } from 'node:fs';
import { SystemError, SOCK_CLOEXEC, socket } from './libc.js';

/**
 * The kernel's own interface to links, addresses, routes and neighbours, spoken directly because the fork path must not
 * spawn `ip`. Layouts: rtnetlink(7), netlink(7); all numbers are in the host's byte order, which is little-endian on every
 * machine the drivers run on.
 */
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const NETLINK_ROUTE = 0;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const HEADER_BYTES = 16;
/** A reply never exceeds 32 KiB (netlink_dump's largest buffer). */
const REPLY_BYTES = 64 * 1024;

const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_CREATE = 0x400;

export const MESSAGE = {
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  setLink: 19,
  newAddress: 20,
  deleteAddress: 21,
  getAddresses: 22,
  getRoutes: 26,
  newNeighbour: 28,
} as const;

export interface RouteMessage {
  readonly type: keyof typeof MESSAGE;
  /** NLM_F_CREATE and NLM_F_REPLACE; the rest is added. */
  readonly flags?: number;
  /** The message's fixed structure followed by its attributes. */
  readonly body: Buffer;
  /** Codes of errors that do not matter for this message. */
  readonly tolerate?: readonly string[];
}

const align = (length: number): number => (length + 3) & ~3;

/** One attribute: numbers as u32, strings NUL-terminated, arrays of attributes nested. */
export function attribute(type: number, value: Buffer | number | string | readonly Buffer[]): Buffer {
  const bytes = attributeBytes(value);
  const out = Buffer.alloc(align(4 + bytes.length));
  out.writeUInt16LE(4 + bytes.length, 0);
  out.writeUInt16LE(type, 2);
  bytes.copy(out, 4);
  return out;
}

function attributeBytes(value: Buffer | number | string | readonly Buffer[]): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (typeof value === 'string') return Buffer.from(`${value}\0`, 'latin1');
  if (typeof value !== 'number') return Buffer.concat(value);
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** A nested attribute of a type the kernel only takes with NLA_F_NESTED. */
export const nested = (type: number, value: readonly Buffer[]): Buffer => attribute(type | 0x8000, value);

/** Attributes by type, from `offset` (the end of the fixed structure) on. */
export function readAttributes(body: Buffer, offset: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = offset; at + 4 <= body.length;) {
    const length = body.readUInt16LE(at);
    if (length < 4) break;
    found.set(body.readUInt16LE(at + 2) & 0x3fff, body.subarray(at + 4, at + length));
    at += align(length);
  }
  return found;
}

/** One socket for all requests. Synchronous throughout: the kernel has answered when the write returns. */
export class RouteSocket implements Disposable {
  private sequence = 0;
  private open = true;

  /** Not blocking: an answer that is not there yet would be a broken kernel, not a reason to wait. */
  constructor(readonly fd: number = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)) {}

  /**
   * Sends all messages in one write; the kernel works them off in order and does not stop at one that fails.
   * @throws SystemError of the first that failed
   */
  request(messages: readonly RouteMessage[]): void {
    const first = this.sequence + 1;
    writeSync(this.fd, Buffer.concat(messages.map((message) => this.encode(message, NLM_F_ACK))));
    const errors = new Map<number, number>();
    for (let missing = messages.length; missing > 0;)
      for (const reply of this.receive()) {
        if (reply.type !== NLMSG_ERROR || reply.sequence < first) continue;
        missing--;
        errors.set(reply.sequence - first, -reply.body.readInt32LE(0));
      }
    for (const [index, message] of messages.entries()) {
      const errno = errors.get(index) ?? 0;
      if (errno === 0) continue;
      const error = new SystemError(`rtnetlink ${message.type}`, errno);
      if (message.tolerate?.includes(error.code) !== true) throw error;
    }
  }

  /** Body of the one thing a message asks for. @throws SystemError ENODEV and such when there is none */
  get(message: RouteMessage): Buffer {
    const sequence = this.sequence + 1;
    writeSync(this.fd, this.encode(message, 0));
    for (;;)
      for (const reply of this.receive()) {
        if (reply.sequence !== sequence) continue;
        if (reply.type === NLMSG_ERROR) throw new SystemError(`rtnetlink ${message.type}`, -reply.body.readInt32LE(0));
        return reply.body;
      }
  }

  /** Bodies of everything of a kind there is. */
  dump(message: RouteMessage): Buffer[] {
    const sequence = this.sequence + 1;
    writeSync(this.fd, this.encode(message, NLM_F_DUMP));
    const bodies: Buffer[] = [];
    for (;;)
      for (const reply of this.receive()) {
        if (reply.sequence !== sequence) continue;
        if (reply.type === NLMSG_DONE) return bodies;
        if (reply.type === NLMSG_ERROR) throw new SystemError(`rtnetlink ${message.type}`, -reply.body.readInt32LE(0));
        bodies.push(reply.body);
      }
  }

  [Symbol.dispose](): void {
    if (this.open) closeSync(this.fd);
    this.open = false;
  }

  private encode(message: RouteMessage, flags: number): Buffer {
    const out = Buffer.alloc(HEADER_BYTES + align(message.body.length));
    out.writeUInt32LE(HEADER_BYTES + message.body.length, 0);
    out.writeUInt16LE(MESSAGE[message.type], 4);
    out.writeUInt16LE(NLM_F_REQUEST | flags | (message.flags ?? 0), 6);
    out.writeUInt32LE(++this.sequence, 8);
    message.body.copy(out, HEADER_BYTES);
    return out;
  }

  private *receive(): Generator<{ type: number; sequence: number; body: Buffer }> {
    const reply = Buffer.allocUnsafe(REPLY_BYTES);
    const end = readSync(this.fd, reply);
    for (let at = 0; at + HEADER_BYTES <= end;) {
      const length = reply.readUInt32LE(at);
      if (length < HEADER_BYTES) return;
      yield {
        type: reply.readUInt16LE(at + 4),
        sequence: reply.readUInt32LE(at + 8),
        body: reply.subarray(at + HEADER_BYTES, at + length),
      };
      at += align(length);
    }
  }
}
