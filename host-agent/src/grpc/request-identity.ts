import { createHash } from 'node:crypto';
import { InvalidInput } from '@offshoot/shared/errors.js';
import type { RequestIdentity } from '../ports/answers.js';
import { REQUEST_LIMITS as L } from './contract/request-limits.js';
import { quoted } from './violations.js';

const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;

/**
 * What a repeated request is told by; undefined for one without an id.
 * @param method full name, as in `call.getPath()`
 * @throws InvalidInput
 */
export function requestIdentity(method: string, request: unknown): RequestIdentity | undefined {
  if (!hasRequestId(request)) return undefined;
  const { requestId: id, ...rest } = request;
  if (id === '') return undefined;
  if (id.length > L.requestIdLength || !PRINTABLE_ASCII.test(id))
    throw InvalidInput.field(
      'request_id',
      `must be at most ${String(L.requestIdLength)} printable ASCII characters, got ${quoted(id)}`,
    );
  return { id, method, fingerprint: createHash('sha256').update(JSON.stringify(rest, canonical)).digest('hex') };
}

const hasRequestId = (request: unknown): request is { readonly requestId: string } =>
  typeof request === 'object' && request !== null && 'requestId' in request && typeof request.requestId === 'string';

/** A map's entries come in any order over the wire, and JSON has neither 64-bit numbers nor bytes in few words. */
function canonical(this: Readonly<Record<string, unknown>>, key: string, json: unknown): unknown {
  const value = this[key]; // `json` is what a Buffer's toJSON made of it
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return json;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
