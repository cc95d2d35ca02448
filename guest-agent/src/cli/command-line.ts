import { parseArgs } from 'node:util';

export const USAGE = `usage: offshoot-guest mailbox arm NAME [--token TOKEN]
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
        timeout: { type: 'string' },
        detail: { type: 'string' },
        failed: { type: 'string' },
        json: { type: 'boolean' },
      },
    });
  } catch {
    return undefined;
  }
  const { token, timeout, detail, failed } = parsed.values;
  const [noun, op, name, ...rest] = parsed.positionals;
  const given = Object.keys(parsed.values).join(' ');
  if (op === undefined) {
    if (noun === 'generation' && given === '') return { request: { op: 'identity' }, print: 'generation' };
    if (noun !== 'identity' || !['', 'json'].includes(given)) return undefined;
    return { request: { op: 'identity' }, print: given === '' ? 'lines' : 'json' };
  }
  if (noun !== 'mailbox' || name === undefined || rest.length > 0) return undefined;
  const request = mailboxRequest(op, name, given, { token, timeout, detail, failed });
  return request === undefined ? undefined : { request };
}

interface Options {
  readonly token: string | undefined;
  readonly timeout: string | undefined;
  readonly detail: string | undefined;
  readonly failed: string | undefined;
}

function mailboxRequest(
  op: string,
  name: string,
  given: string,
  { token, timeout, detail, failed }: Options,
): CommandLine['request'] | undefined {
  switch (op) {
    case 'arm':
      if (!['', 'token'].includes(given)) return undefined;
      return { op, name, ...(token === undefined ? {} : { token }) };
    case 'wait': {
      if (!['', 'timeout'].includes(given)) return undefined;
      if (timeout === undefined) return { op, name };
      const seconds = /^[0-9]+(\.[0-9]+)?$/.test(timeout) ? Number(timeout) : NaN;
      return Number.isNaN(seconds) ? undefined : { op, name, timeoutMs: Math.round(seconds * 1000) };
    }
    case 'ack':
      if (!['', 'detail', 'failed'].includes(given)) return undefined;
      if (failed !== undefined) return { op, name, stage: 'failed', detail: failed };
      return { op, name, stage: 'applied', ...(detail === undefined ? {} : { detail }) };
    case 'dispose':
      return given === '' ? { op, name } : undefined;
    default:
      return undefined;
  }
}
