import { randomUUID } from 'node:crypto';
import { Metadata, status } from '@grpc/grpc-js';
import { Aborted, InvalidInput, OffshootError, Timeout, type FieldViolation } from '@offshoot/shared/errors.js';
import { encodeStatus, ERROR_DOMAIN, STATUS_DETAILS_KEY, type StatusDetails } from './contract/status-details.js';
import { STATUS_OF_KIND } from './status-table.js';

/** Reasons of an aborted call's signal: the caller went, or the call's own deadline passed. */
export const CALL_CANCELLED = 'CALL_CANCELLED';
export const CALL_DEADLINE = 'CALL_DEADLINE';

export const callCancelled = (): Aborted => new Aborted('cancelled by the caller', { reason: CALL_CANCELLED });
export const callDeadline = (): Timeout => new Timeout("the call's deadline passed", { reason: CALL_DEADLINE });

/**
 * Trailers travel in one header block, and gRPC's C core refuses blocks over 16 KiB (from 8 KiB on it
 * may). The message goes twice, once percent-encoded, once in the details, which travel in base64: 6 KiB in all.
 */
const MAX_MESSAGE_BYTES = 1280;
const MAX_METADATA_BYTES = 256;
const MAX_VIOLATIONS_BYTES = 1536;

/** An error as the client gets it, and what only the log gets. */
export interface ErrorStatus {
  readonly code: status;
  /** The message, under gRPC's name for it. */
  readonly details: string;
  /** `ErrorInfo.reason`. */
  readonly reason: string;
  readonly metadata: Metadata;
  /** Set for a defect: stands in the answer and beside the error in the log. */
  readonly errorId?: string;
}

/**
 * The one place where anything thrown becomes a gRPC status. Errors of the family go out with their message, reason,
 * metadata and violations; anything else is a defect, so its message (paths, command lines) stays in the log under an id.
 * @param signal the call's own: a failure after it ended is told as that ending, in whatever words the work gave it up
 */
export function errorStatus(error: unknown, signal: AbortSignal): ErrorStatus {
  const known = knownError(error, signal);
  if (known === undefined) {
    const errorId = randomUUID();
    return {
      ...withDetails(status.INTERNAL, `internal error; the daemon's log has it under id ${errorId}`, {
        reason: 'INTERNAL',
        metadata: { errorId },
        violations: [],
      }),
      errorId,
    };
  }
  const code = known.reason === CALL_CANCELLED ? status.CANCELLED : STATUS_OF_KIND[known.kind];
  return withDetails(code, known.message, {
    reason: known.reason,
    metadata: known.metadata,
    violations: known instanceof InvalidInput ? known.violations : [],
  });
}

/** Undefined for a defect. A call that had ended fails by that, also where Node's own AbortError has lost the reason. */
function knownError(error: unknown, { reason }: AbortSignal): OffshootError | undefined {
  const givenUp = error instanceof OffshootError || (error instanceof Error && error.name === 'AbortError');
  if (givenUp && reason instanceof OffshootError) return reason;
  return error instanceof OffshootError ? error : undefined;
}

function withDetails(code: status, text: string, details: Omit<StatusDetails, 'domain'>): ErrorStatus {
  const message = shorten(text, MAX_MESSAGE_BYTES);
  const encoded = encodeStatus(code, message, {
    reason: details.reason,
    domain: ERROR_DOMAIN,
    metadata: Object.fromEntries(
      Object.entries(details.metadata).map(([key, value]) => [key, shorten(value, MAX_METADATA_BYTES)]),
    ),
    violations: boundedViolations(details.violations),
  });
  const metadata = new Metadata();
  metadata.set(STATUS_DETAILS_KEY, encoded);
  return { code, details: message, reason: details.reason, metadata };
}

function boundedViolations(violations: readonly FieldViolation[]): FieldViolation[] {
  const kept: FieldViolation[] = [];
  let bytes = 0;
  for (const { field, description } of violations) {
    const violation = { field: shorten(field, 256), description: shorten(description, 512) };
    bytes += Buffer.byteLength(violation.field) + Buffer.byteLength(violation.description) + 8;
    if (bytes > MAX_VIOLATIONS_BYTES) {
      kept.push({ field: '', description: `and ${String(violations.length - kept.length)} more` });
      break;
    }
    kept.push(violation);
  }
  return kept;
}

/**
 * Cut in the middle (what failed stands at the front, the end of a hypervisor's log at the back) to `limit` bytes as they
 * travel: percent-encoded. Lone surrogates, which cannot travel at all, are replaced.
 */
function shorten(text: string, limit: number): string {
  const wellFormed = Buffer.from(text, 'utf8').toString('utf8');
  if (encodeURI(wellFormed).length <= limit) return wellFormed;
  const characters = Array.from(wellFormed);
  const take = (list: readonly string[], budget: number): number => {
    let used = 0;
    const index = list.findIndex((character) => (used += encodeURI(character).length) > budget);
    return index < 0 ? list.length : index;
  };
  const head = take(characters, limit / 3);
  const tail = take(characters.slice(head).reverse(), (limit * 2) / 3 - 16);
  return `${characters.slice(0, head).join('')} … ${characters.slice(characters.length - tail).join('')}`;
}
