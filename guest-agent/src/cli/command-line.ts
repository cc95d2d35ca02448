import { parseArgs } from 'node:util';

export const USAGE = `usage: offshoot-guest mailbox arm NAME [--token TOKEN] [--capacity BYTES]
       offshoot-guest mailbox wait NAME [--timeout SECONDS]
       offshoot-guest mailbox ack NAME [--detail TEXT] [--failed TEXT]
       offshoot-guest mailbox dispose NAME
       offshoot-guest identity [--json]
       offshoot-guest generation
`;

/** How the answer to `identity` is printed. */
export type Print = 'lines' | 'json' | 'generation';
export interface CommandLine {
  readonly request: Readonly<Record<string, unknown>>;
  readonly print?: Print;
}

/** What the command line asks of the agent, or undefined when it makes no sense. */
export function parseCommandLine(argv: readonly string[]): CommandLine | undefined {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        token: { type: 'string' },
        capacity: { type: 'string' },
        timeout: { type: 'string' },
        detail: { type: 'string' },
        failed: { type: 'string' },
        json: { type: 'boolean' },
      },
    });
  } catch {
    return undefined;
  }
  const { token, capacity, timeout, detail, failed } = parsed.values;
  const [noun, op, name, ...rest] = parsed.positionals;
  const given = Object.keys(parsed.values);
  if (op === undefined) {
    if (noun === 'generation' && given.length === 0) return { request: { op: 'identity' }, print: 'generation' };
    if (noun !== 'identity' || !only(given, 'json')) return undefined;
    return { request: { op: 'identity' }, print: given.length === 0 ? 'lines' : 'json' };
  }
  if (noun !== 'mailbox' || name === undefined || rest.length > 0) return undefined;
  const request = mailboxRequest(op, name, given, { token, capacity, timeout, detail, failed });
  return request === undefined ? undefined : { request };
}

const only = (given: readonly string[], ...allowed: string[]): boolean =>
  given.every((option) => allowed.includes(option));

interface Options {
  readonly token: string | undefined;
  readonly capacity: string | undefined;
  readonly timeout: string | undefined;
  readonly detail: string | undefined;
  readonly failed: string | undefined;
}

function mailboxRequest(
  op: string,
  name: string,
  given: readonly string[],
  { token, capacity, timeout, detail, failed }: Options,
): CommandLine['request'] | undefined {
  switch (op) {
    case 'arm':
      if (!only(given, 'token', 'capacity')) return undefined;
      if (capacity !== undefined && !/^[0-9]{1,9}$/.test(capacity)) return undefined;
      return {
        op,
        name,
        ...(token === undefined ? {} : { token }),
        ...(capacity === undefined ? {} : { capacityBytes: Number(capacity) }),
      };
    case 'wait': {
      if (!only(given, 'timeout')) return undefined;
      if (timeout === undefined) return { op, name };
      const seconds = /^[0-9]+(\.[0-9]+)?$/.test(timeout) ? Number(timeout) : NaN;
      return Number.isNaN(seconds) ? undefined : { op, name, timeoutMs: Math.round(seconds * 1000) };
    }
    case 'ack':
      if (!only(given, 'detail', 'failed') || given.length > 1) return undefined;
      if (failed !== undefined) return { op, name, stage: 'failed', detail: failed };
      return { op, name, stage: 'applied', ...(detail === undefined ? {} : { detail }) };
    case 'dispose':
      return given.length === 0 ? { op, name } : undefined;
    default:
      return undefined;
  }
}
