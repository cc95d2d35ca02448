import type { GetHostResponse } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import type { HostView } from '../app/commands.js';

export const toHostMessage = (host: HostView): GetHostResponse => ({
  version: host.version,
  hostname: host.hostname,
  drivers: host.drivers.map((driver) => ({
    name: driver.name,
    available: driver.available,
    unavailableReason: driver.unavailableReason,
    version: driver.version,
    accelerator: driver.accelerator,
    acceleratorReason: driver.acceleratorReason,
    capabilities: { ...driver.capabilities },
    capabilityReason: driver.capabilityReason ?? '',
  })),
  network: {
    mode: host.network.mode,
    modeReason: host.network.modeReason,
    subnet: host.network.subnet,
    gateway: host.network.gateway,
    ackPort: host.network.ackPort,
    bridge: host.network.bridge,
  },
  capacity: {
    vcpus: host.vcpus,
    memoryBytes: BigInt(host.memoryBytes),
    diskFreeBytes: BigInt(host.diskFreeBytes),
    addresses: host.network.capacity,
  },
  usage: {
    instances: host.instances,
    runningInstances: host.runningInstances,
    guestMemoryBytes: BigInt(host.guestMemoryBytes),
    addresses: host.instances, // an instance keeps its address from its creation to its end, whatever its state
  },
});
