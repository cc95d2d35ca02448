import { Unsupported } from '@offshoot/shared/errors.js';
import { NO_CAPABILITIES, type DriverName } from '../domain/driver-capabilities.js';
import type { DriverStatus } from '../ports/driver.js';

/** Status of a driver whose hypervisor cannot be used here. @param version of the one that is installed all the same */
export const unavailable = (name: DriverName, unavailableReason: string, version = ''): DriverStatus => ({
  name,
  available: false,
  unavailableReason,
  version,
  accelerator: '',
  acceleratorReason: '',
  capabilities: NO_CAPABILITIES,
});

/** Refuses what a driver is asked for that is not available. */
export const driverUnavailable = ({ name, unavailableReason }: DriverStatus): Unsupported =>
  new Unsupported(`driver ${name} is not available: ${unavailableReason}`, {
    reason: 'DRIVER_UNAVAILABLE',
    metadata: { driver: name },
  });
