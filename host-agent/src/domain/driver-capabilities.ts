/** Drivers by name. A name alone promises nothing: {@link DRIVER_CAPABILITIES} says what each can do. */
export const DRIVER_NAMES = ['qemu', 'firecracker', 'cloud-hypervisor', 'vz', 'libkrun'] as const;
export type DriverName = (typeof DRIVER_NAMES)[number];

export interface DriverCapabilities {
  /** Standby and restore. */
  readonly snapshot: boolean;
  readonly fork: boolean;
  /** Forks of an instance that runs, and goes on. */
  readonly forkRunning: boolean;
  /** Writing into the memory of a paused fork. */
  readonly mailbox: boolean;
  /** Forks share unmodified memory with their source. */
  readonly memoryCow: boolean;
  /** A capture of a fork costs what the fork changed, whatever the size of its memory. */
  readonly diffSnapshot: boolean;
  /** Guests are reached by vsock. */
  readonly vsock: boolean;
  readonly balloon: boolean;
  /** Instances on a network of their own inside the hypervisor, without rights on the host's. */
  readonly userNetwork: boolean;
  /** Disks in layers (qcow2), for hosts whose file system has no reflinks. */
  readonly diskLayers: boolean;
}

const NOTHING: DriverCapabilities = {
  snapshot: false,
  fork: false,
  forkRunning: false,
  mailbox: false,
  memoryCow: false,
  diffSnapshot: false,
  vsock: false,
  balloon: false,
  userNetwork: false,
  diskLayers: false,
};

/** What a driver can do that is not there: nothing. */
export const NO_CAPABILITIES = NOTHING;

const FORKS = { snapshot: true, fork: true, forkRunning: true, mailbox: true, memoryCow: true };

/** What each driver can do where its hypervisor is installed. */
export const DRIVER_CAPABILITIES: Readonly<Record<DriverName, DriverCapabilities>> = {
  qemu: { ...NOTHING, ...FORKS, diffSnapshot: true, userNetwork: true, diskLayers: true },
  firecracker: { ...NOTHING, ...FORKS, diffSnapshot: true, vsock: true },
  'cloud-hypervisor': { ...NOTHING, ...FORKS, diffSnapshot: true, vsock: true },
  vz: NOTHING,
  libkrun: NOTHING,
};
