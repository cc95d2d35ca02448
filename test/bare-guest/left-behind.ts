import { readdir } from 'node:fs/promises';
import { processesIn } from '../../host-agent/src/os/proc-orphans.js';

/** How many descriptors this process has open. */
export const openDescriptors = async (): Promise<number> => (await readdir('/proc/self/fd')).length;

/** What is there of a VM that may have left something. */
export const leftIn = async (spec: {
  directory: string;
  runDirectory: string;
}): Promise<{ processes: number[]; sockets: string[] }> => ({
  processes: await processesIn(spec.directory),
  sockets: await readdir(spec.runDirectory),
});

export const NOTHING_LEFT = { processes: [], sockets: [] };
