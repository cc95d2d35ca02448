import { InvalidInput, Unsupported } from '@offshoot/shared/errors.js';
import { DRIVER_CAPABILITIES, type DriverCapabilities, type DriverName } from '../domain/driver-capabilities.js';
import type { HypervisorDriver } from '../ports/driver.js';
import type { Dependencies } from './dependencies.js';

/** The driver by name, usable here. @throws InvalidInput for an unknown name, Unsupported (with why) for one that is not there */
export async function usableDriver(
  { drivers, defaultDriver }: Pick<Dependencies, 'drivers' | 'defaultDriver'>,
  name: string | undefined,
  signal: AbortSignal,
): Promise<HypervisorDriver> {
  const driver = drivers.get((name ?? defaultDriver) as DriverName);
  if (driver === undefined)
    throw InvalidInput.field(
      'driver',
      `must be one of ${[...drivers.keys()].join(', ')}, got ${JSON.stringify(name)}`,
      'DRIVER_UNKNOWN',
    );
  const status = await driver.probe(signal);
  if (!status.available)
    throw new Unsupported(`driver ${driver.name} is not available on this host: ${status.unavailableReason}`, {
      reason: 'DRIVER_UNAVAILABLE',
      metadata: { driver: driver.name },
    });
  return driver;
}

/** @throws Unsupported naming driver and capability */
export function assertCapability(driver: DriverName, capability: keyof DriverCapabilities): void {
  if (DRIVER_CAPABILITIES[driver][capability]) return;
  throw new Unsupported(`driver ${driver} cannot do this: it lacks the capability ${capability}`, {
    reason: 'CAPABILITY_MISSING',
    metadata: { driver, capability },
  });
}
