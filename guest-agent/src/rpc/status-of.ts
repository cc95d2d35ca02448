import { status as Status, type StatusObject } from '@grpc/grpc-js';
import { OffshootError, messageOf, type ErrorKind } from '@offshoot/shared/errors.js';

const STATUS: Readonly<Record<ErrorKind, Status>> = {
  InvalidInput: Status.INVALID_ARGUMENT,
  NotFound: Status.NOT_FOUND,
  AlreadyExists: Status.ALREADY_EXISTS,
  InvalidState: Status.FAILED_PRECONDITION,
  Capacity: Status.RESOURCE_EXHAUSTED,
  Conflict: Status.ABORTED,
  Unsupported: Status.UNIMPLEMENTED,
  Unreachable: Status.UNAVAILABLE,
  Timeout: Status.DEADLINE_EXCEEDED,
  Aborted: Status.ABORTED,
  Corrupt: Status.DATA_LOSS,
};

/** How a failure looks to the host. */
export function statusOf(error: unknown): Pick<StatusObject, 'code' | 'details'> {
  return { code: error instanceof OffshootError ? STATUS[error.kind] : Status.INTERNAL, details: messageOf(error) };
}
