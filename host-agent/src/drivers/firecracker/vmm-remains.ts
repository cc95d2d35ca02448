import { rmSync } from 'node:fs';
import type { MachineSpec } from '../../ports/driver.js';
import { jailPaths } from './jail/jail-contents.js';
import { removeSockets } from './vmm-sockets.js';

/** Removes what an ended VMM leaves behind, whether it was jailed or not. */
export function removeRemains(spec: Pick<MachineSpec, 'directory' | 'runDirectory'>): void {
  removeSockets(spec);
  rmSync(jailPaths(spec).folder, { recursive: true, force: true });
}
