import { processEnded, type ProcessIdentity } from '../../os/process-identity.js';
import type { ShutdownCause, VmExit } from '../../ports/driver.js';
import type { HangUp } from '../http-api/hang-up.js';
import { logTail } from '../vmm-log.js';

/** What Firecracker says last when it ends as it means to. */
const ENDED_WELL = /Firecracker exiting successfully\. exit_code=0\s*$/;

/**
 * Firecracker's only orderly end is a reset by the guest, over the keyboard controller: Linux does that for `reboot`, and with
 * `reboot=k` when it panics. It has no way to power off. (A triple fault is a failure to it, exit status 1.)
 */
const causeOf = (code: number | null): { readonly cause?: ShutdownCause } => (code === 0 ? { cause: 'reset' } : {});

/** How a child ended, with why. */
export async function exitOfChild(exited: Promise<VmExit>): Promise<VmExit> {
  const exit = await exited;
  return { ...exit, ...causeOf(exit.code) };
}

/**
 * The end of a VMM that is no child: nobody tells its exit status, but the last line of its log does when that is 0. Its
 * connections end first; only then is it worth a thread to wait for the process.
 * @param logStart size of the log when it was taken over
 */
export async function exitOfAdopted(
  identity: ProcessIdentity,
  hangUp: HangUp,
  logFile: string,
  logStart: number,
): Promise<VmExit> {
  const { here } = await hangUp.closed;
  if (here) return new Promise(() => undefined); // detached: whoever adopts it next will hear of its end
  await processEnded(identity);
  const tail = logTail(logFile, logStart);
  const code = ENDED_WELL.test(tail) ? 0 : null;
  return { code, signal: null, ...causeOf(code), logTail: tail };
}
