import { messageOf } from '@offshoot/shared/errors.js';
import type { CallEntry } from './call-log.js';
import type { Configuration } from './configuration.js';
import { EXIT, type Capability } from './contract.js';
import { GRAMMAR } from './grammar.js';
import { matchCall, type Order } from './match-call.js';
import { onOneLine } from './refusal.js';

/** What the helper does to the world. */
export interface HelperParts {
  readonly version: string;
  /** @throws InvalidInput when it is not to be trusted */
  readonly configuration: () => Configuration;
  /** @param path undefined for the usual log @throws when it cannot be written */
  readonly log: (path: string | undefined, entry: Omit<CallEntry, 'time' | 'caller'>) => void;
  /** Absolute path; undefined where it is not installed. */
  readonly find: (program: Capability) => string | undefined;
  /** Runs a program to its end. @returns whether it succeeded */
  readonly run: (path: string, args: readonly string[]) => Promise<boolean>;
  readonly print: (text: string) => void;
  readonly complain: (line: string) => void;
}

/** Carries out a call that is one of the grammar's, and refuses every other; both are logged first. @returns the exit status */
export async function answerCall(call: readonly string[], parts: HelperParts): Promise<number> {
  let configuration: Configuration | undefined;
  let order: Order;
  try {
    configuration = parts.configuration();
    order = matchCall(call, configuration);
  } catch (error) {
    return refuse(call, parts, configuration, error);
  }
  try {
    parts.log(configuration.log, { call, refused: undefined });
  } catch (error) {
    // What nobody can look up later is not done.
    parts.complain(`offshoot-privileged: refused: ${onOneLine(messageOf(error))}`);
    return EXIT.refused;
  }
  return await carryOut(order, parts);
}

function refuse(
  call: readonly string[],
  { log, complain }: HelperParts,
  configuration: Configuration | undefined,
  error: unknown,
): number {
  const refused = messageOf(error);
  complain(`offshoot-privileged: refused: ${onOneLine(refused)}`);
  try {
    log(configuration?.log, { call, refused });
  } catch {
    // It is refused all the same, and a second line would only hide why.
  }
  return EXIT.refused;
}

async function carryOut(order: Order, { version, find, run, print, complain }: HelperParts): Promise<number> {
  if ('answer' in order) {
    print(
      order.answer === 'version'
        ? `${version}\n`
        : capabilities(find)
            .map((each) => `${each}\n`)
            .join(''),
    );
    return EXIT.done;
  }
  const path = find(order.program);
  if (path === undefined) {
    complain(`offshoot-privileged: ${order.program} is not installed`);
    return EXIT.programMissing;
  }
  return (await run(path, order.args)) ? EXIT.done : EXIT.programFailed;
}

const capabilities = (find: HelperParts['find']): Capability[] => {
  const programs = new Set(GRAMMAR.flatMap((command) => ('program' in command ? [command.program] : [])));
  return [...programs].filter((program) => find(program) !== undefined);
};
