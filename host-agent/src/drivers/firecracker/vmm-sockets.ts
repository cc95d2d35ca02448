import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { MachineSpec } from '../../ports/driver.js';

/** Where a VMM's sockets are, absolute. It makes both itself, and would not start over one that is there. */
export interface VmmSockets {
  readonly api: string;
  /** The host's end of the guest's vsock. */
  readonly vsock: string;
}

type RunDirectory = Pick<MachineSpec, 'runDirectory'>;

export const socketsOf = ({ runDirectory }: RunDirectory): VmmSockets => ({
  api: join(runDirectory, 'api.sock'),
  vsock: join(runDirectory, 'vsock'),
});

export function removeSockets(spec: RunDirectory): void {
  const { api, vsock } = socketsOf(spec);
  rmSync(api, { force: true });
  rmSync(vsock, { force: true });
}
