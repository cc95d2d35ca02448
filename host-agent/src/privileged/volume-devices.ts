/** Where the devices of volumes are. */
export interface VolumeDevices {
  /** The kernel's own folder of devices, and what those of volumes are called there. */
  readonly folder: string;
  readonly nodes: RegExp;
  /** The volume a device is, as the kernel has it; undefined where it is gone. */
  readonly volumeOf: (path: string) => Promise<string | undefined>;
}

export const DEVICES: VolumeDevices = {
  folder: '/dev',
  nodes: /^zd[0-9]+$/,
  volumeOf: async (path) => await (await import('../os/zvol-name.js')).zvolNameOf(path),
};
