import { findProgram } from '@offshoot/host-agent/os/program-path.js';

/** Programs that make or run the lab host, and the Debian package of each. */
const PROGRAMS: Readonly<Record<string, string>> = {
  debootstrap: 'debootstrap',
  'mkfs.ext4': 'e2fsprogs',
  'qemu-system-x86_64': 'qemu-system-x86',
};

/** Where administrators' programs are, which ordinary users do not have in their PATH. */
export const ADMINISTRATORS_PATH = `${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`;

/** What the lab host needs and this machine lacks, by the PATH; empty when nothing. */
export async function missingForLab(): Promise<string> {
  const missing = process.geteuid?.() === 0 ? [] : ['root'];
  for (const [program, packageName] of Object.entries(PROGRAMS))
    if ((await findProgram(program)) === undefined) missing.push(`${program} (package ${packageName})`);
  return missing.join(', ');
}
