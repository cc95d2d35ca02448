import { InvalidInput } from '@offshoot/shared/errors.js';
import { parseAck, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { FRAME_SIZE, MAX_SEGMENTS } from '@offshoot/shared/mailbox/frame-layout.js';

/** The local interface of the agent: newline-delimited JSON on a Unix socket. README.md describes it for users. */
export const LOCAL_SOCKET = '/run/offshoot/guest.sock';

/** Longest request line in bytes; a token of 128, a detail of 1 KiB and 64 addresses fit many times over. */
export const MAX_REQUEST_BYTES = 8192;
/** Longest detail of an ack, in characters; the ack line cuts it further. */
const MAX_DETAIL = 1024;
/** A day: longer than any test, shorter than what a Node timer can hold. */
const MAX_TIMEOUT_MS = 24 * 3600 * 1000;

/** PID_MAX_LIMIT of the kernel (include/linux/threads.h). */
const MAX_PID = 4 * 1024 * 1024;

/** Stages a client can report. */
const STAGES = ['received', 'applied', 'failed'] as const;

export type LocalRequest =
  | {
      readonly op: 'arm';
      readonly name: string;
      readonly token: string | undefined;
      /** Checked where the segments are counted. */
      readonly capacityBytes: number | undefined;
    }
  | { readonly op: 'wait'; readonly name: string; readonly timeoutMs: number | undefined }
  | { readonly op: 'ack'; readonly name: string; readonly stage: (typeof STAGES)[number]; readonly detail: string }
  | { readonly op: 'dispose'; readonly name: string }
  | { readonly op: 'attach'; readonly name: string; readonly pid: number; readonly addresses: readonly bigint[] }
  | { readonly op: 'watch'; readonly name: string; readonly timeoutMs: number | undefined }
  | { readonly op: 'detach'; readonly name: string }
  | { readonly op: 'send-ack'; readonly ack: Ack }
  | { readonly op: 'identity' };

/** `id` is whatever the client sent, given back with the answer. */
export type LocalAnswer = { readonly id: string | number | null } & (
  | ({ readonly ok: true } & Readonly<Record<string, unknown>>)
  | { readonly ok: false; readonly error: { readonly kind: string; readonly reason: string; readonly message: string } }
);

const FIELDS: Readonly<Record<LocalRequest['op'], readonly string[]>> = {
  arm: ['name', 'token', 'capacityBytes'],
  wait: ['name', 'timeoutMs'],
  ack: ['name', 'stage', 'detail'],
  dispose: ['name'],
  attach: ['name', 'pid', 'addresses'],
  watch: ['name', 'timeoutMs'],
  detach: ['name'],
  'send-ack': ['line'],
  identity: [],
};

const isOp = (op: unknown): op is LocalRequest['op'] => typeof op === 'string' && Object.hasOwn(FIELDS, op);

/** The client's id of a request, also of a malformed one; null when it has none that could be given back. */
export function idOf(value: unknown): string | number | null {
  const id: unknown = typeof value === 'object' && value !== null && 'id' in value ? value.id : null;
  return (typeof id === 'string' && id.length <= 64) || (typeof id === 'number' && Number.isSafeInteger(id))
    ? id
    : null;
}

/** Parses one request exactly: known fields of the right kind, nothing else. @throws InvalidInput */
export function parseLocalRequest(value: unknown): LocalRequest {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw InvalidInput.field('request', 'must be a JSON object on one line');
  const fields = new Map<string, unknown>(Object.entries(value));
  const op = fields.get('op');
  if (!isOp(op)) throw InvalidInput.field('op', `must be one of ${Object.keys(FIELDS).join(', ')}`);
  for (const key of fields.keys())
    if (key !== 'op' && key !== 'id' && !FIELDS[op].includes(key))
      throw InvalidInput.field(key.slice(0, 64), `is not known to ${op}`);
  if (op === 'identity') return { op };
  if (op === 'send-ack') return { op, ack: parseLine(fields.get('line')) };
  const name = fields.get('name');
  if (typeof name !== 'string') throw InvalidInput.field('name', 'must be a string');
  switch (op) {
    case 'arm':
      return {
        op,
        name,
        token: optionalString('token', fields.get('token')),
        capacityBytes: optionalNumber('capacityBytes', fields.get('capacityBytes')),
      };
    case 'wait':
    case 'watch':
      return { op, name, timeoutMs: parseTimeout(fields.get('timeoutMs')) };
    case 'ack': {
      const stage = STAGES.find((known) => known === (fields.get('stage') ?? 'applied'));
      if (stage === undefined) throw InvalidInput.field('stage', `must be one of ${STAGES.join(', ')}`);
      return { op, name, stage, detail: optionalString('detail', fields.get('detail')) ?? '' };
    }
    case 'dispose':
    case 'detach':
      return { op, name };
    case 'attach':
      return { op, name, pid: parsePid(fields.get('pid')), addresses: parseAddresses(fields.get('addresses')) };
  }
}

/** Exactly a line that the host would take. */
function parseLine(value: unknown): Ack {
  const parse = typeof value === 'string' ? parseAck(Buffer.from(value, 'utf8')) : undefined;
  if (parse?.ok !== true)
    throw InvalidInput.field('line', `must be the line of an acknowledgement${parse ? `: ${parse.reject}` : ''}`);
  return parse.ack;
}

function parsePid(value: unknown): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > MAX_PID)
    throw InvalidInput.field('pid', `must be a whole number from 1 to ${String(MAX_PID)}`);
  return value;
}

function parseAddresses(value: unknown): bigint[] {
  if (!Array.isArray(value) || value.length < 1 || value.length > MAX_SEGMENTS)
    throw InvalidInput.field('addresses', `must be 1 to ${String(MAX_SEGMENTS)} addresses`);
  const addresses = value.map((address: unknown, index) => {
    const number = typeof address === 'string' && /^[0-9a-f]{1,16}$/.test(address) ? BigInt(`0x${address}`) : 0n;
    if (number === 0n || number % BigInt(FRAME_SIZE) !== 0n)
      throw InvalidInput.field(`addresses[${String(index)}]`, 'must be the address of a page in lower-case hex digits');
    return number;
  });
  if (new Set(addresses).size < addresses.length) throw InvalidInput.field('addresses', 'names a page twice');
  return addresses;
}

function optionalNumber(field: string, value: unknown): number | undefined {
  if (value !== undefined && typeof value !== 'number') throw InvalidInput.field(field, 'must be a number');
  return value;
}

function optionalString(field: string, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value.length > MAX_DETAIL)
    throw InvalidInput.field(field, `must be a string of at most ${String(MAX_DETAIL)} characters`);
  return value;
}

function parseTimeout(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > MAX_TIMEOUT_MS)
    throw InvalidInput.field('timeoutMs', `must be a whole number from 0 to ${String(MAX_TIMEOUT_MS)}`);
  return value;
}
