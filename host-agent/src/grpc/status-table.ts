import { status } from '@grpc/grpc-js';
import type { ErrorKind } from '@offshoot/shared/errors.js';

/**
 * What each kind of error is on the wire (the conditions are those of the specification's fork table).
 *
 * `Conflict` is ABORTED, not FAILED_PRECONDITION: the latter tells a scheduler to change something first, while a lock
 * held by somebody else only asks for the same call again. The other sender of ABORTED, a guest that answered
 * `stage=failed`, differs by the reason in `ErrorInfo`.
 */
export const STATUS_OF_KIND: Readonly<Record<ErrorKind, status>> = {
  InvalidInput: status.INVALID_ARGUMENT,
  NotFound: status.NOT_FOUND,
  AlreadyExists: status.ALREADY_EXISTS,
  InvalidState: status.FAILED_PRECONDITION,
  Capacity: status.RESOURCE_EXHAUSTED,
  Conflict: status.ABORTED,
  Unsupported: status.UNIMPLEMENTED,
  Unreachable: status.UNAVAILABLE,
  Timeout: status.DEADLINE_EXCEEDED,
  Aborted: status.ABORTED,
  Corrupt: status.DATA_LOSS,
};
