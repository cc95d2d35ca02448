/**
 * The one error family. Every failure a caller can meet is one of these kinds; adapters wrap what libraries throw, and a
 * single table (host-agent/src/grpc/status-table.ts) turns kinds into gRPC statuses.
 */
export type ErrorKind =
  | 'InvalidInput'
  | 'NotFound'
  | 'AlreadyExists'
  | 'InvalidState'
  | 'Capacity'
  | 'Conflict'
  | 'Unsupported'
  | 'Unreachable'
  | 'Timeout'
  | 'Aborted'
  | 'Corrupt';

/** One malformed field of a request: `field` is a path in the request's own spelling, as `mailboxes[2].json`. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

export interface ErrorDetails {
  /** Machine-readable, SCREAMING_SNAKE_CASE, stable: what a scheduler branches on. */
  readonly reason: string;
  /** Values that go with the reason, such as the name that was not found. Never a secret, never a payload. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** Base of every error Offshoot raises on purpose. Anything else that is thrown is a defect and is reported as such. */
export abstract class OffshootError extends Error {
  abstract readonly kind: ErrorKind;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(message: string, details: ErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.reason = details.reason;
    this.metadata = details.metadata ?? {};
  }
}

/** A request, setting or message that cannot be right whatever the state of the host. */
export class InvalidInput extends OffshootError {
  readonly kind = 'InvalidInput';
  readonly violations: readonly FieldViolation[];

  constructor(message: string, details: ErrorDetails & { violations?: readonly FieldViolation[] }) {
    super(message, details);
    this.violations = details.violations ?? [];
  }

  /** The common case: one field that is wrong. */
  static field(field: string, description: string, reason = 'INVALID_FIELD'): InvalidInput {
    return new InvalidInput(`${field}: ${description}`, { reason, violations: [{ field, description }] });
  }
}

/** Something named in a request does not exist. */
export class NotFound extends OffshootError {
  readonly kind = 'NotFound';
}

/** A name that is to be new is taken. */
export class AlreadyExists extends OffshootError {
  readonly kind = 'AlreadyExists';
}

/** The request is right, but not in the state things are in. */
export class InvalidState extends OffshootError {
  readonly kind = 'InvalidState';
}

/** Memory, disk, addresses or another limit is used up. */
export class Capacity extends OffshootError {
  readonly kind = 'Capacity';
}

/** Somebody else is at it: a lock, a second daemon. */
export class Conflict extends OffshootError {
  readonly kind = 'Conflict';
}

/** The driver or the host cannot do this. */
export class Unsupported extends OffshootError {
  readonly kind = 'Unsupported';
}

/** A hypervisor, agent or daemon that should answer does not, or went away. */
export class Unreachable extends OffshootError {
  readonly kind = 'Unreachable';
}

/** Something did not happen in the time it was given. */
export class Timeout extends OffshootError {
  readonly kind = 'Timeout';
}

/** Given up half-way: cancelled by the caller, or refused by the guest. */
export class Aborted extends OffshootError {
  readonly kind = 'Aborted';
}

/** Data on disk, in memory or on the wire is not what it must be. */
export class Corrupt extends OffshootError {
  readonly kind = 'Corrupt';
}

/** The message of anything thrown, for use in another message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** `code` of a Node system error (`ENOENT` ...), else undefined. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
