import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { InvalidInput, messageOf, OffshootError, type FieldViolation } from '@offshoot/shared/errors.js';
import { CommanderError } from 'commander';
import { decodeStatusDetails } from '../grpc/contract/status-details.js';
import { EXIT_CODES, exitCodeOfStatus } from './exit-codes.js';
import { printable } from './format-values.js';

/** Anything that went wrong, ready to be told. */
export interface CliFailure {
  readonly exitCode: number;
  readonly status: keyof typeof status;
  readonly message: string;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
}

/** @param address of the daemon, for when it cannot be reached */
export function toFailure(error: unknown, address: string): CliFailure {
  if (isServiceError(error)) return ofService(error, address);
  if (error instanceof CommanderError)
    return {
      ...local('INVALID_ARGUMENT', commanderMessage(error), 'USAGE'),
      exitCode: EXIT_CODES.usage.code,
    };
  if (error instanceof InvalidInput)
    return { ...local('INVALID_ARGUMENT', error.message, error.reason), exitCode: EXIT_CODES.usage.code };
  return {
    ...local('UNKNOWN', messageOf(error), error instanceof OffshootError ? error.reason : 'UNKNOWN'),
    exitCode: EXIT_CODES.failure.code,
  };
}

/** As a line a field for people, or as one JSON document in the shape Google's APIs use over HTTP. */
export function formatFailure(failure: CliFailure, json: boolean): string {
  const { message, reason, metadata, violations } = failure;
  if (json)
    return JSON.stringify(
      { error: { code: status[failure.status], status: failure.status, message, reason, metadata, violations } },
      undefined,
      2,
    );
  // One violation is the message already; of several the message is the list, told once.
  const head = violations.length > 1 ? `the request has ${String(violations.length)} mistakes` : message;
  const lines = violations.length > 1 ? violations.map(({ field, description }) => `  ${field}: ${description}`) : [];
  return [`offshoot: ${head}`, ...lines].map(printable).join('\n');
}

/** Commander's text for a missing subcommand is the help itself, and its message a placeholder. */
const commanderMessage = (error: CommanderError): string =>
  error.code === 'commander.help' ? 'a command is missing; see offshoot --help' : error.message.replace(/^error: /, '');

const local = (name: keyof typeof status, message: string, reason: string): Omit<CliFailure, 'exitCode'> => ({
  status: name,
  message,
  reason,
  metadata: {},
  violations: [],
});

function ofService(error: ServiceError, address: string): CliFailure {
  const details = decodeStatusDetails(error.metadata);
  // Without the daemon's own details it is the channel that speaks.
  if (details === undefined && error.code === status.UNAVAILABLE)
    return {
      ...local('UNAVAILABLE', `cannot reach the daemon at ${address}: ${hint(error.details)}`, 'DAEMON_UNREACHABLE'),
      exitCode: EXIT_CODES.unreachable.code,
    };
  return {
    exitCode: error.code === status.CANCELLED ? EXIT_CODES.interrupted.code : exitCodeOfStatus(error.code),
    status: status[error.code] as keyof typeof status,
    message: error.details,
    reason: details?.reason ?? '',
    metadata: details?.metadata ?? {},
    violations: details?.violations ?? [],
  };
}

function hint(details: string): string {
  if (details.includes('ENOENT')) return 'there is no such socket; is offshootd running?';
  if (details.includes('ECONNREFUSED')) return 'nothing listens there; is offshootd running?';
  if (details.includes('EACCES')) return "permission denied; are you in the socket's group?";
  return details;
}

function isServiceError(error: unknown): error is ServiceError {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'number' &&
    'details' in error &&
    typeof error.details === 'string' &&
    'metadata' in error &&
    error.metadata instanceof Metadata
  );
}
