import { Unreachable } from '@offshoot/shared/errors.js';
import { killProcess, processEnded, type ProcessIdentity } from '../../os/process-identity.js';
import type { ShutdownCause, VmExit } from '../../ports/driver.js';
import { logTail } from '../vmm-log.js';
import type { CloudHypervisorApi } from './cloud-hypervisor-api.js';
import type { GuestConsole } from './console-log.js';
import type { VmmEvent, VmmEvents } from './vmm-events.js';

/**
 * What means the VM's end, by what says most: a guest that panics resets the machine then, and a VMM that ends, which it does
 * not of itself, shuts its VM down before.
 */
const ENDS: readonly (readonly [VmmEvent, ShutdownCause])[] = [
  ['guest panic', 'panicked'],
  ['vm rebooting', 'reset'],
  // Over its API, or by a signal.
  ['vmm shutdown', 'told-to'],
  ['vm shutdown', 'powered-off'],
];

/** What of a VMM tells its end. */
export interface VmmSigns {
  readonly identity: ProcessIdentity;
  readonly events: VmmEvents;
  readonly console: GuestConsole;
}

/**
 * Ends a VMM whose guest has ended: Cloud Hypervisor stays when a guest powers off, goes on when one has panicked, and would
 * boot one anew that resets the machine, which without its kernel (see `withKernel`) it cannot.
 * @param api of the VMM
 */
export function endWithGuest({ identity, events }: VmmSigns, api: Pick<CloudHypervisorApi, 'isRunning'>): void {
  events.onEvent((event) => {
    if (event === 'guest panic' || event === 'vm rebooting') killProcess(identity);
    if (event === 'vm shutdown') void endWhenIdle(identity, api);
  });
}

/** One that answers has shut down its VM alone; one that is ending does not, and says that it ends. */
async function endWhenIdle(identity: ProcessIdentity, api: Pick<CloudHypervisorApi, 'isRunning'>): Promise<void> {
  try {
    await api.isRunning();
  } catch (error) {
    if (error instanceof Unreachable) return;
  }
  killProcess(identity);
}

/** How a child ended, with why. */
export async function exitOfChild(exited: Promise<VmExit>, signs: VmmSigns): Promise<VmExit> {
  const exit = await exited;
  await allHeard(signs);
  return withCause(exit, signs.events);
}

/** The end of a VMM that is no child: nobody tells its exit status. Its FIFO ends first; only then is it worth a thread to wait. */
export async function exitOfAdopted(signs: VmmSigns, logFile: string, logStart: number): Promise<VmExit> {
  const { here } = await signs.events.closed;
  if (here) return new Promise(() => undefined); // detached: whoever adopts it next will hear of its end
  await processEnded(signs.identity);
  await allHeard(signs);
  return withCause({ code: null, signal: null, logTail: logTail(logFile, logStart) }, signs.events);
}

async function allHeard({ events, console }: VmmSigns): Promise<void> {
  await Promise.all([events.closed, console.closed]);
}

/** An end the guest meant is an end in order, however the VMM was ended then. */
function withCause(exit: VmExit, events: VmmEvents): VmExit {
  const cause = ENDS.find(([event]) => events.has(event))?.[1];
  return cause === undefined ? exit : { ...exit, code: 0, signal: null, cause };
}
