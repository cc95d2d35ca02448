import { InvalidInput, type FieldViolation } from '@offshoot/shared/errors.js';
import { environmentVariable, type Settings } from './settings.js';

/** How Firecrackers are jailed. */
export interface JailSettings {
  /** The jailer: name on the PATH, or a path. */
  readonly jailer: string;
  /** Of the user and group that a jailed Firecracker runs as; neither is root's. */
  readonly uid: number;
  readonly gid: number;
}

type JailKeys = 'firecracker.jailer' | 'firecracker.jailer_uid' | 'firecracker.jailer_gid';

/**
 * What the settings of the jail mean together, which each of them alone cannot say.
 * @param daemonUid the user this daemon runs as: only root can make jails
 * @returns undefined when nothing is to be jailed
 * @throws InvalidInput `CONFIGURATION_INVALID` with all that is wrong
 */
export function jailSettings(settings: Pick<Settings, JailKeys>, daemonUid: number): JailSettings | undefined {
  const { 'firecracker.jailer': jailer, 'firecracker.jailer_uid': uid, 'firecracker.jailer_gid': gid } = settings;
  const numbers = { 'firecracker.jailer_uid': uid, 'firecracker.jailer_gid': gid };
  const violations: FieldViolation[] = [];
  for (const [field, value] of Object.entries(numbers)) {
    if (jailer !== '' && value === '')
      violations.push({ field, description: 'must be set where firecracker.jailer is, to a number other than 0' });
    if (jailer === '' && value !== '')
      violations.push({ field, description: 'has no effect without firecracker.jailer: set that, or neither' });
  }
  if (jailer !== '' && daemonUid !== 0)
    violations.push({
      field: 'firecracker.jailer',
      description: `needs a daemon that runs as root, this one runs as user ${String(daemonUid)}: leave ${environmentVariable('firecracker.jailer')} empty`,
    });
  if (violations.length > 0)
    throw new InvalidInput(
      `configuration: ${violations.map(({ field, description }) => `${field}: ${description}`).join('; ')}`,
      { reason: 'CONFIGURATION_INVALID', violations },
    );
  return uid === '' || gid === '' ? undefined : { jailer, uid, gid };
}
