import { readFileSync } from 'node:fs';
import { endMachine, sync } from '../os/libc.js';

/** An answer takes a few turns of the event loop into the channel, and the host may have stopped listening. */
const FLUSH_LIMIT_MS = 1000;

/** On the kernel's command line, where the machine has no way to be powered off: its VMM ends when it is reset. */
const BY_RESET = 'offshoot.power_off=reset';

/** How this machine is made to end. @param commandLine of the kernel */
export const powerOffBy = (commandLine: string): 'power off' | 'reset' =>
  commandLine.trim().split(' ').includes(BY_RESET) ? 'reset' : 'power off';

/** Syncs the disks, lets what was said to the host reach it, and powers the machine off. */
export async function powerOffAfter(flushed: () => Promise<void>): Promise<void> {
  await sync();
  const limit = new Promise<void>((resolve) => setTimeout(resolve, FLUSH_LIMIT_MS).unref());
  const answered = async (): Promise<void> => {
    for (let turn = 0; turn < 3; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      await flushed();
    }
  };
  await Promise.race([answered(), limit]);
  endMachine(powerOffBy(readFileSync('/proc/cmdline', 'latin1')));
}
