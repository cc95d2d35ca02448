import { processEnded, type ProcessIdentity } from '../../os/process-identity.js';
import type { VmExit } from '../../ports/driver.js';
import type { QmpClient } from './qmp-client.js';
import { logTail } from './vmm-log.js';

/**
 * The end of a VMM that is no child: nobody tells how it went, only that it is gone. Its control socket closes first; only
 * then is it worth a thread to wait for the end of the process itself.
 */
export async function exitOfAdopted(identity: ProcessIdentity, qmp: QmpClient, logFile: string): Promise<VmExit> {
  const { here } = await qmp.closed;
  if (here) return new Promise(() => undefined); // detached: whoever adopts it next will hear of its end
  await processEnded(identity);
  return { code: null, signal: null, logTail: logTail(logFile, 0) };
}
