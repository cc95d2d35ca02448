import { status } from '@grpc/grpc-js';

/** What `offshoot` exits with. The one table; `offshoot --help` prints it. */
export const EXIT_CODES = {
  ok: { code: 0, meaning: 'done' },
  failure: { code: 1, meaning: 'the call failed, for a reason that has no code of its own' },
  usage: { code: 2, meaning: 'the command line or the request is malformed' },
  unreachable: { code: 3, meaning: 'the daemon cannot be reached' },
  notFound: { code: 4, meaning: 'something named does not exist' },
  alreadyExists: { code: 5, meaning: 'the name is taken' },
  precondition: { code: 6, meaning: 'not in the state things are in' },
  exhausted: { code: 7, meaning: 'no memory, disk, address or other resource left' },
  timeout: { code: 8, meaning: 'it did not happen in time' },
  unsupported: { code: 9, meaning: 'the driver or the host cannot do this' },
  aborted: { code: 10, meaning: 'given up: refused by the guest, or a lock was held' },
  interrupted: { code: 130, meaning: 'interrupted (Ctrl-C); the call was cancelled' },
} as const;

const OF_STATUS: Readonly<Partial<Record<status, keyof typeof EXIT_CODES>>> = {
  [status.INVALID_ARGUMENT]: 'usage',
  [status.NOT_FOUND]: 'notFound',
  [status.ALREADY_EXISTS]: 'alreadyExists',
  [status.FAILED_PRECONDITION]: 'precondition',
  [status.RESOURCE_EXHAUSTED]: 'exhausted',
  [status.DEADLINE_EXCEEDED]: 'timeout',
  [status.UNIMPLEMENTED]: 'unsupported',
  [status.ABORTED]: 'aborted',
};

export const exitCodeOfStatus = (code: status): number => EXIT_CODES[OF_STATUS[code] ?? 'failure'].code;

/** The table for `--help`. */
export const exitCodeHelp = (): string =>
  [
    'Exit codes:',
    ...Object.values(EXIT_CODES).map(({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`),
  ].join('\n');
