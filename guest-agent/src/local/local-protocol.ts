import { InvalidInput } from '@offshoot/shared/errors.js';

/** The local interface of the agent: newline-delimited JSON on a Unix socket. README.md describes it for users. */
export const LOCAL_SOCKET = '/run/offshoot/guest.sock';

/** Longest request line in bytes; a token of 128 and a detail of 1 KiB fit many times over. */
export const MAX_REQUEST_BYTES = 8192;
/** Longest detail of an ack, in characters; the ack line cuts it further. */
const MAX_DETAIL = 1024;
/** A day: longer than any test, shorter than what a Node timer can hold. */
const MAX_TIMEOUT_MS = 24 * 3600 * 1000;

/** Stages a client can report. */
const STAGES = ['received', 'applied', 'failed'] as const;

export type LocalRequest =
  | { readonly op: 'arm'; readonly name: string; readonly token: string | undefined }
  | { readonly op: 'wait'; readonly name: string; readonly timeoutMs: number | undefined }
  | { readonly op: 'ack'; readonly name: string; readonly stage: (typeof STAGES)[number]; readonly detail: string }
  | { readonly op: 'dispose'; readonly name: string }
  | { readonly op: 'identity' };

/** `id` is whatever the client sent, given back with the answer. */
export type LocalAnswer = { readonly id: string | number | null } & (
  | ({ readonly ok: true } & Readonly<Record<string, unknown>>)
  | { readonly ok: false; readonly error: { readonly kind: string; readonly reason: string; readonly message: string } }
);

const FIELDS: Readonly<Record<LocalRequest['op'], readonly string[]>> = {
  arm: ['name', 'token'],
  wait: ['name', 'timeoutMs'],
  ack: ['name', 'stage', 'detail'],
  dispose: ['name'],
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
  const name = fields.get('name');
  if (typeof name !== 'string') throw InvalidInput.field('name', 'must be a string');
  switch (op) {
    case 'arm':
      return { op, name, token: optionalString('token', fields.get('token')) };
    case 'wait':
      return { op, name, timeoutMs: parseTimeout(fields.get('timeoutMs')) };
    case 'ack': {
      const stage = STAGES.find((known) => known === (fields.get('stage') ?? 'applied'));
      if (stage === undefined) throw InvalidInput.field('stage', `must be one of ${STAGES.join(', ')}`);
      return { op, name, stage, detail: optionalString('detail', fields.get('detail')) ?? '' };
    }
    case 'dispose':
      return { op, name };
  }
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
