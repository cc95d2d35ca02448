import type { Instance } from '../domain/instance.js';
import { DISKS_IN_FOLDERS, DISK_FORMATS } from '../domain/storage-name.js';
import type { InstancePaths } from '../paths.js';
import type { MachineSpec, NicBackend } from '../ports/driver.js';

/** What the driver is told of an instance. */
export function machineSpec(instance: Instance, paths: InstancePaths, nic: NicBackend): MachineSpec {
  return { ...machineFiles(instance, paths), nic: { mac: instance.network.mac, backend: nic } };
}

/** The same without the network card, which a VM that runs already has. */
export function machineFiles(instance: Instance, paths: InstancePaths): Omit<MachineSpec, 'nic'> {
  const format = DISK_FORMATS[instance.storage];
  return {
    directory: paths.root,
    runDirectory: paths.run,
    logDirectory: paths.logs,
    vcpus: instance.vcpus,
    memoryBytes: instance.memoryBytes,
    memoryFile: paths.memory,
    disk: {
      path: paths.disk(format),
      format,
      ...(DISKS_IN_FOLDERS[instance.storage] ? {} : { isDevice: true }),
    },
  };
}
