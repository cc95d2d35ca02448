import { OffshootError, messageOf } from '@offshoot/shared/errors.js';
import type { CallEntry } from './call-log.js';
import type { Configuration } from './configuration.js';
import { EXIT, UNNAMED_FAILURE, failureLine, type Capability } from './contract.js';
import type { DeedName } from './grammar.js';
import { matchCall, type Order } from './match-call.js';
import { onOneLine, quoted, refusal } from './refusal.js';

/** What the helper does to the world. */
export interface HelperParts {
  readonly version: string;
  /** User id of who calls, as sudo gives it. */
  readonly caller: string;
  /** @throws InvalidInput when it is not to be trusted */
  readonly configuration: () => Configuration;
  /** @param path undefined for the usual log @throws when it cannot be written */
  readonly log: (path: string | undefined, entry: Omit<CallEntry, 'time' | 'caller'>) => void;
  /** Absolute path of a program; undefined where it is not installed. */
  readonly find: (program: string) => string | undefined;
  /** Whether the kernel makes TAPs here. */
  readonly hasTaps: () => boolean;
  /** Runs a program to its end. @returns whether it succeeded */
  readonly run: (path: string, args: readonly string[]) => Promise<boolean>;
  /**
   * Looks whether something the helper does itself is to be done, for the user with this id.
   * @returns what does it, and throws OffshootError or system errors @throws InvalidInput when it is to be refused
   */
  readonly begin: (
    deed: DeedName,
    args: readonly string[],
    configuration: Configuration,
    owner: number,
  ) => Promise<() => Promise<void>>;
  readonly print: (text: string) => void;
  readonly complain: (line: string) => void;
}

/** Carries out a call that is one of the grammar's, and refuses every other; both are logged first. @returns the exit status */
export async function answerCall(call: readonly string[], parts: HelperParts): Promise<number> {
  let configuration: Configuration | undefined;
  let carryOut: () => Promise<number>;
  try {
    configuration = parts.configuration();
    carryOut = await prepare(matchCall(call, configuration), configuration, parts);
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
  return await carryOut();
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

/** @returns what does it, with the exit status @throws InvalidInput when it is not to be done after all */
async function prepare(order: Order, configuration: Configuration, parts: HelperParts): Promise<() => Promise<number>> {
  if ('answer' in order)
    return () => {
      parts.print(
        order.answer === 'version'
          ? `${parts.version}\n`
          : capabilities(configuration, parts)
              .map((each) => `${each}\n`)
              .join(''),
      );
      return Promise.resolve(EXIT.done);
    };
  if ('program' in order) return () => runProgram(order, parts);
  const perform = await parts.begin(order.deed, order.args, configuration, ownerOf(parts.caller));
  return async () => {
    try {
      await perform();
      return EXIT.done;
    } catch (error) {
      const reason = error instanceof OffshootError ? error.reason : UNNAMED_FAILURE;
      parts.complain(failureLine(reason, onOneLine(messageOf(error))));
      return EXIT.programFailed;
    }
  };
}

async function runProgram(
  { program, args }: Extract<Order, { readonly program: string }>,
  { find, run, complain }: HelperParts,
): Promise<number> {
  const path = find(program);
  if (path === undefined) {
    complain(`offshoot-privileged: ${program} is not installed`);
    return EXIT.programMissing;
  }
  return (await run(path, args)) ? EXIT.done : EXIT.programFailed;
}

/** What the kernel has as user ids but root's, and but for the last, which means none. */
const HIGHEST_USER = 2 ** 32 - 2;

/** @throws InvalidInput for root, who needs no helper, and when sudo did not say */
function ownerOf(caller: string): number {
  const user = /^[1-9][0-9]{0,9}$/.test(caller) ? Number(caller) : 0;
  if (user > 0 && user <= HIGHEST_USER) return user;
  throw refusal(`this is done for the user who calls sudo, whose id has to be in SUDO_UID, which is ${quoted(caller)}`);
}

const NEEDS: Readonly<Record<Capability, (configuration: Configuration, parts: HelperParts) => boolean>> = {
  zfs: ({ zfsDataset }, { find }) => zfsDataset !== undefined && find('zfs') !== undefined,
  network: ({ networkSubnet }, { find, hasTaps }) =>
    networkSubnet !== undefined && find('nft') !== undefined && hasTaps(),
};

const capabilities = (configuration: Configuration, parts: HelperParts): Capability[] =>
  (Object.keys(NEEDS) as Capability[]).filter((each) => NEEDS[each](configuration, parts));
