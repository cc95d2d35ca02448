/** Drivers by name. Only those in the table below can be asked for; a name alone promises nothing. */
export type DriverName = 'qemu';

export interface DriverCapabilities {
  /** Standby and restore. */
  readonly snapshot: boolean;
  readonly fork: boolean;
  /** Writing into the memory of a paused fork. */
  readonly mailbox: boolean;
  /** Forks share unmodified memory with their source. */
  readonly memoryCow: boolean;
}

/** What each driver can do where its hypervisor is installed. */
export const DRIVER_CAPABILITIES: Readonly<Record<DriverName, DriverCapabilities>> = {
  qemu: { snapshot: true, fork: true, mailbox: true, memoryCow: true },
};
