import { DRIVER_NAMES, type DriverName } from '../../domain/driver-capabilities.js';
import { fail, pass, warn, type Check } from './check.js';

/** What to do about a driver that is not there. */
const REMEDIES: Readonly<Record<DriverName, string>> = {
  qemu: 'install the package qemu-system-x86, or set qemu.binary',
  firecracker: 'nothing has to be done; instances run with another driver',
  'cloud-hypervisor': 'nothing has to be done; instances run with another driver',
  vz: 'nothing has to be done; instances run with another driver',
  libkrun: 'nothing has to be done; instances run with another driver',
};

const CAPTURES_REMEDY = 'use another driver here, or a host whose KVM has what is missing';

/** Each hypervisor: there, in which version, and how fast. Only the default one has to be. */
export const DRIVER_CHECKS: readonly Check[] = DRIVER_NAMES.map((name) => ({
  name: `driver-${name}`,
  run: async ({ drivers, defaultDriver }, signal) => {
    const status = await drivers.get(name)?.probe(signal);
    if (status?.available !== true) {
      const detail = status?.unavailableReason ?? 'the daemon does not know it';
      if (status?.remedy !== undefined) return fail(detail, status.remedy);
      // Of those that are only declared nobody expects anything.
      return name === defaultDriver ? fail(detail, REMEDIES[name]) : pass(`not available: ${detail}`);
    }
    const { version, accelerator, acceleratorReason, capabilityReason } = status;
    const detail = `${version}, ${accelerator}`;
    if (capabilityReason !== undefined) return warn(`${detail}: ${capabilityReason}`, CAPTURES_REMEDY);
    if (acceleratorReason === '') return pass(detail);
    return warn(`${detail}: ${acceleratorReason}`, 'see the checks cpu-virtualization and kvm');
  },
}));
