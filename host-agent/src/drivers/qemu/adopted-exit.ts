import { processEnded, type ProcessIdentity } from '../../os/process-identity.js';
import type { VmExit } from '../../ports/driver.js';
import { logTail } from '../vmm-log.js';
import type { QmpClient } from './qmp-client.js';
import { shutdownCause } from './shutdown-cause.js';

/**
 * The end of a VMM that is no child: nobody tells its exit code. That it shut down by intent (the guest powered off, or a
 * signal asked it to) it says itself before it ends, and then its code is 0. Its control socket closes first; only then is it
 * worth a thread to wait for the end of the process.
 */
export async function exitOfAdopted(identity: ProcessIdentity, qmp: QmpClient, logFile: string): Promise<VmExit> {
  const { here, shutdown } = await qmp.closed;
  if (here) return new Promise(() => undefined); // detached: whoever adopts it next will hear of its end
  await processEnded(identity);
  return {
    code: shutdown === undefined ? null : 0,
    signal: null,
    ...shutdownCause(shutdown),
    logTail: logTail(logFile, 0),
  };
}
