import { messageOf } from '@offshoot/shared/errors.js';
import { fail, type Check, type CheckResult, type DoctorSubject } from './check.js';
import { DRIVER_CHECKS } from './driver-checks.js';
import { IMAGE_CHECKS } from './image-checks.js';
import { LEFTOVER_CHECK } from './leftover-check.js';
import { MACHINE_CHECKS } from './machine-checks.js';
import { NETWORK_CHECKS } from './network-checks.js';
import { PORT_CHECKS } from './port-checks.js';
import { PRIVILEGE_CHECKS } from './privilege-checks.js';
import { PROGRAM_CHECKS } from './program-checks.js';
import { STORAGE_CHECKS } from './storage-checks.js';

/** In the order in which one would look: what the later ones need first. */
export const CHECKS: readonly Check[] = [
  ...MACHINE_CHECKS,
  ...PROGRAM_CHECKS,
  ...STORAGE_CHECKS,
  ...PRIVILEGE_CHECKS,
  ...DRIVER_CHECKS,
  ...NETWORK_CHECKS,
  ...PORT_CHECKS,
  ...IMAGE_CHECKS,
  LEFTOVER_CHECK,
];

/** Makes every check, one after the other, and gives each result as it comes; one that cannot be made has failed. */
export async function* examine(
  subject: DoctorSubject,
  signal: AbortSignal,
  checks: readonly Check[] = CHECKS,
): AsyncGenerator<CheckResult, void, undefined> {
  for (const check of checks) {
    const { name } = check;
    signal.throwIfAborted();
    try {
      const finding = await check.run(subject, signal);
      if (finding !== undefined) yield { name, ...finding };
    } catch (error) {
      signal.throwIfAborted();
      yield { name, ...fail(`could not be looked into: ${messageOf(error)}`, "look into the daemon's log") };
    }
  }
}
