import type { HypervisorDriver, MachineSpec } from '../../host-agent/src/ports/driver.js';

/** A driver as the suite tries it. */
export interface Subject {
  /** In the names of the tests. */
  readonly name: string;
  /** What this machine lacks for it; empty when it can be tried. */
  missing(): Promise<string>;
  /** @param binary instead of the hypervisor's own; @param scratch a folder for what the driver keeps */
  driver(options: { readonly scratch: string; readonly binary?: string }): HypervisorDriver;
  /** Its hypervisor, as a shell finds it. */
  readonly binary: string;
  /** Words of the command lines with which the hypervisor is only asked what it is and can do. */
  readonly probeArguments: readonly string[];
  readonly disk: { readonly format: MachineSpec['disk']['format']; create(path: string): Promise<void> };
  readonly nic: MachineSpec['nic']['backend'];
  /** What else is left to each driver by the port. */
  readonly traits: {
    /** Where the memory of a VM booted cold is: in its memory file, which captures leave where it is, or with the VMM. */
    readonly coldMemory: 'in its file' | "the VMM's own";
    /** Whether a VM booted cold goes on in another VMM once it is captured. */
    readonly replacesCold: boolean;
    /** How a VM ends whose guest resets the machine. */
    readonly reset: { readonly code: number; readonly cause: string };
  };
}
