import type { BigIntStats } from 'node:fs';
import { chown, mkdir, stat, writeFile } from 'node:fs/promises';
import { InvalidState, messageOf } from '@offshoot/shared/errors.js';
import { deviceNumber } from '../../../os/device-number.js';
import { jailNameOf } from '../../../os/jail-name.js';
import { unlessMissing } from '../../../os/unless-missing.js';
import type { MachineSpec } from '../../../ports/driver.js';
import { mountTable, type JailPlan, type JailUser, type JailedDevice } from './jail-command.js';
import { jailPaths, type JailedFile } from './jail-contents.js';
import type { JailerInstallation } from './jailer-installation.js';

/**
 * Makes on the host what a jail is made of, and gives its user the files. Files that are not there are left out, for the VMM to
 * miss them in its own words.
 * @throws InvalidState `JAIL_FILE_DENIED` when a file cannot be given away
 */
export async function prepareJail(
  installation: JailerInstallation,
  user: JailUser,
  spec: Pick<MachineSpec, 'directory'>,
  contents: readonly JailedFile[],
): Promise<JailPlan> {
  const paths = jailPaths(spec);
  await mkdir(paths.folder, { mode: 0o700 });
  await mkdir(paths.base, { mode: 0o700 });
  // The jail's user opens what is linked in here, and makes nothing itself: who may make names could make links to anywhere.
  await mkdir(paths.captures, { mode: 0o711 });
  const files: JailedFile[] = [];
  const devices: JailedDevice[] = [];
  for (const file of contents) {
    const found = await unlessMissing(stat(file.source, { bigint: true }));
    if (found === undefined) continue;
    if (found.isBlockDevice()) {
      devices.push({ name: file.name, ...deviceNumber(found.rdev) });
      continue;
    }
    if (file.kind === 'file') await give(file, found, user);
    files.push(file);
  }
  const { size } = await stat(installation.firecracker);
  const plan: JailPlan = {
    ...installation,
    name: jailNameOf(spec.directory),
    user,
    firecrackerBytes: size,
    base: paths.base,
    mounts: paths.mounts,
    files,
    devices,
  };
  await writeFile(paths.mounts, mountTable(plan), { mode: 0o600 });
  return plan;
}

/**
 * Lets the user open a file. Its owner, because captures are for their owner alone; a read-only mount keeps one from being
 * changed that is only to be read.
 */
async function give({ source, access }: JailedFile, { uid, gid, mode }: BigIntStats, user: JailUser): Promise<void> {
  if (uid === BigInt(user.uid)) return;
  if (access === 'read' && (mode & 0o004n) !== 0n) return;
  try {
    await chown(source, user.uid, Number(gid));
  } catch (error) {
    throw new InvalidState(`${source} cannot be given to the jail's user ${String(user.uid)}: ${messageOf(error)}`, {
      reason: 'JAIL_FILE_DENIED',
      metadata: { path: source, uid: String(user.uid) },
      cause: error,
    });
  }
}
