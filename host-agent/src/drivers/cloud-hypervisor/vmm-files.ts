import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { MachineSpec } from '../../ports/driver.js';

/** What a VMM has in its run directory, absolute. */
export interface VmmFiles {
  /** Made by us and inherited, so that one can connect before the VMM has even been loaded. */
  readonly api: string;
  /** A FIFO in which it says what happens. Made by us. */
  readonly events: string;
  /** The guest's serial port, to read from. The VMM makes it, and would not start over one that is there; so the next. */
  readonly serial: string;
  /** The host's end of the guest's vsock. */
  readonly vsock: string;
  /** Link to the kernel while the VM boots: see `withKernel`. */
  readonly kernel: string;
  /** Folder of a capture in the making, or of one being loaded. */
  readonly snapshot: string;
}

type RunDirectory = Pick<MachineSpec, 'runDirectory'>;

export function filesOf({ runDirectory }: RunDirectory): VmmFiles {
  const file = (name: string): string => join(runDirectory, name);
  return {
    api: file('api.sock'),
    events: file('events'),
    serial: file('serial.sock'),
    vsock: file('vsock'),
    kernel: file('kernel'),
    snapshot: file('snapshot'),
  };
}

/** Removes what an ended VMM leaves behind. */
export function removeFiles(spec: RunDirectory): void {
  const files: Readonly<Record<string, string>> = { ...filesOf(spec) };
  for (const path of Object.values(files)) rmSync(path, { recursive: true, force: true });
}
