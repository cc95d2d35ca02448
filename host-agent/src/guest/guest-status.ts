import { status as Status } from '@grpc/grpc-js';
import {
  Aborted,
  Capacity,
  Corrupt,
  InvalidInput,
  InvalidState,
  NotFound,
  Timeout,
  Unreachable,
  Unsupported,
  type OffshootError,
} from '@offshoot/shared/errors.js';

/** The guest's own words are cut here, in characters: they end up in our errors and logs. */
const MAX_DETAIL = 500;

function decodeDetail(text: string): string {
  let decoded = text;
  try {
    decoded = decodeURIComponent(text);
  } catch {
    // not percent-encoded as gRPC wants it: shown as it came
  }
  return decoded.slice(0, MAX_DETAIL).replace(/\p{Cc}/gu, ' ');
}

const KINDS = new Map<number, new (message: string, details: { reason: string }) => OffshootError>([
  [Status.CANCELLED, Aborted],
  [Status.INVALID_ARGUMENT, InvalidInput],
  [Status.DEADLINE_EXCEEDED, Timeout],
  [Status.NOT_FOUND, NotFound],
  [Status.RESOURCE_EXHAUSTED, Capacity],
  [Status.FAILED_PRECONDITION, InvalidState],
  [Status.ABORTED, Aborted],
  [Status.UNIMPLEMENTED, Unsupported],
  [Status.UNAVAILABLE, Unreachable],
  [Status.DATA_LOSS, Corrupt],
]);

/** The error for what a guest put into `grpc-status` and `grpc-message`; undefined for OK. */
export function errorOfGuestStatus(call: string, code: unknown, message: unknown): OffshootError | undefined {
  const number = typeof code === 'string' && /^[0-9]{1,2}$/.test(code) ? Number(code) : undefined;
  if (number === undefined)
    return new Unreachable(`guest: ${call} ended without a status`, { reason: 'GUEST_CALL_CUT' });
  if (number === (Status.OK as number)) return undefined;
  const detail = typeof message === 'string' ? decodeDetail(message) : '';
  const Kind = KINDS.get(number) ?? Aborted;
  return new Kind(`guest: ${call}: ${detail === '' ? `status ${String(number)}` : detail}`, {
    reason: 'GUEST_REFUSED',
  });
}
