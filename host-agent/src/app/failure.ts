import { OffshootError, Timeout, Unreachable, messageOf } from '@offshoot/shared/errors.js';
import type { InstancePaths } from '../paths.js';
import type { ShutdownCause, VmExit } from '../ports/driver.js';
import { tailOf } from './tail.js';

/** An error of a guest that did not come up, together with the end of its console: what an operator looks for first. */
export async function withConsoleTail(error: unknown, paths: InstancePaths): Promise<unknown> {
  const isGuests = error instanceof Timeout || error instanceof Unreachable;
  const console = isGuests ? await tailOf(paths.consoleLog) : '';
  if (console === '' || !(error instanceof OffshootError)) return error;
  const Kind = error instanceof Timeout ? Timeout : Unreachable;
  return new Kind(`${error.message}; end of the console:\n${console}`, {
    reason: error.reason,
    metadata: error.metadata,
    cause: error,
  });
}

/** A kernel that panics says why before some 40 lines of registers and stack. */
const PANIC_BYTES = 4096;

const CAUSES: Readonly<Record<ShutdownCause, string>> = {
  'powered-off': 'the guest powered off',
  reset:
    'the guest reset its machine, as a kernel does that panics, or one that reboots: start the instance to boot it again',
  panicked: "the guest's kernel panicked",
  'told-to': 'the hypervisor was told to end, and not by this daemon',
};

/** Why an instance is FAILED after its VMM went by itself. */
export async function exitReason(exit: VmExit, paths: InstancePaths): Promise<string> {
  const how =
    exit.signal !== null
      ? `by signal ${exit.signal}`
      : exit.code !== null
        ? `with exit status ${String(exit.code)}`
        : 'for a reason that cannot be known (it was not a child of this daemon)';
  const parts = [...(exit.cause === undefined ? [] : [CAUSES[exit.cause]]), `the hypervisor ended ${how}`];
  if (exit.logTail !== '') parts.push(`its log: ${exit.logTail}`);
  const console = await tailOf(paths.consoleLog, PANIC_BYTES).catch(
    (error: unknown) => `(console unreadable: ${messageOf(error)})`,
  );
  if (console !== '') parts.push(`end of the console:\n${console}`);
  return parts.join('; ');
}
