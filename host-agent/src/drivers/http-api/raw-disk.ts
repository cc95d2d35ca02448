import { Unsupported } from '@offshoot/shared/errors.js';
import type { DriverName } from '../../domain/driver-capabilities.js';
import type { MachineSpec } from '../../ports/driver.js';

/**
 * @param title of the hypervisor, for people
 * @throws Unsupported for a disk that a hypervisor without layers cannot be trusted with
 */
export function assertRawDisk(driver: DriverName, title: string, { path, format }: MachineSpec['disk']): void {
  if (format === 'raw') return;
  throw new Unsupported(`${title} has raw disks only, ${path} is ${format}: it lacks diskLayers`, {
    reason: 'CAPABILITY_MISSING',
    metadata: { driver, capability: 'diskLayers' },
  });
}
