import { InvalidInput, Unsupported } from '@offshoot/shared/errors.js';
import { DRIVER_CAPABILITIES, type DriverCapabilities, type DriverName } from '../domain/driver-capabilities.js';
import type { HypervisorDriver } from '../ports/driver.js';
import type { Dependencies } from './dependencies.js';

/**
 * The driver by name, usable here.
 * @throws InvalidInput for an unknown name; Unsupported, with why, for one that is not there or has no use for this network
 */
export async function usableDriver(
  { drivers, defaultDriver, network }: Pick<Dependencies, 'drivers' | 'defaultDriver' | 'network'>,
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
  if (network.status.mode === 'user' && !status.capabilities.userNetwork)
    throw lacks(
      driver.name,
      'userNetwork',
      "attaches instances to the host's network only, and network.mode is user: the daemon needs network.mode tap",
    );
  return driver;
}

/**
 * Refuses what a driver cannot do, or cannot do on this host, before anything is touched for it. Of one that is not there it
 * goes by the table: that it is not there is said by {@link usableDriver}.
 * @throws Unsupported naming driver and capability, with why where only this host lacks it
 */
export async function assertCapability(
  { drivers }: Pick<Dependencies, 'drivers'>,
  driver: DriverName,
  capability: keyof DriverCapabilities,
  signal: AbortSignal,
): Promise<void> {
  const status = await drivers.get(driver)?.probe(signal);
  const capabilities = status?.available === true ? status.capabilities : DRIVER_CAPABILITIES[driver];
  if (capabilities[capability]) return;
  const why = status?.capabilityReason === undefined ? '' : ` here: ${status.capabilityReason}`;
  throw lacks(driver, capability, `cannot do this, it lacks the capability ${capability}${why}`);
}

const lacks = (driver: DriverName, capability: keyof DriverCapabilities, what: string): Unsupported =>
  new Unsupported(`driver ${driver} ${what}`, { reason: 'CAPABILITY_MISSING', metadata: { driver, capability } });
