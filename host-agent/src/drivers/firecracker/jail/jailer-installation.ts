import { realpath } from 'node:fs/promises';
import { Corrupt } from '@offshoot/shared/errors.js';
import { elfInterpreter } from '../../../os/elf-interpreter.js';
import { findProgram } from '../../../os/program-path.js';
import { UnusableVmm, askVersion, type VmmInstallation } from '../../kvm-vmm-installation.js';

const JAILER = { program: 'jailer', title: "Firecracker's jailer", version: /^Jailer v(\d+\.\d+\.\d+\S*)/m };

/** What else jails are made with, of util-linux and coreutils. */
const TOOLS = ['unshare', 'sh', 'mount', 'mkdir', 'mknod', 'chown'] as const;

/** What jails are made with; absolute paths. */
export interface JailerInstallation {
  readonly jailer: string;
  readonly unshare: string;
  /** Without symbolic links. */
  readonly firecracker: string;
}

/**
 * Looks whether a Firecracker can be jailed.
 * @param program the jailer: name on the PATH, or a path
 * @throws UnusableVmm saying what is missing; the signal's reason
 */
export async function inspectJailer(
  program: string,
  { binary, version }: VmmInstallation,
  signal?: AbortSignal,
): Promise<JailerInstallation> {
  const unusable = (message: string, reason: string): UnusableVmm =>
    new UnusableVmm(JAILER, message, { reason, version });
  const jailer = await findProgram(program);
  if (jailer === undefined) throw unusable(`no jailer binary: ${program} is not an executable file`, 'PROGRAM_MISSING');
  const own = await askVersion(JAILER, jailer, signal);
  if (own !== version)
    throw unusable(
      `${jailer} is version ${own}, ${binary} is ${version}: a jailer is for the Firecracker of its own version`,
      'JAILER_UNUSABLE',
    );
  const interpreter = await interpreterOf(binary);
  if (interpreter !== undefined)
    throw unusable(
      `${binary} cannot be jailed, where it has no libraries: it is ${interpreter}, needed is one that is linked statically, as Firecracker's releases are`,
      'JAILER_UNUSABLE',
    );
  const tools = await Promise.all(TOOLS.map((tool) => findProgram(tool)));
  const lacking = TOOLS.filter((_, index) => tools[index] === undefined);
  const [unshare] = tools;
  if (unshare === undefined || lacking.length > 0)
    throw unusable(`no ${lacking.join(', ')} on the PATH, by which jails are made`, 'PROGRAM_MISSING');
  return { jailer, unshare, firecracker: await realpath(binary) };
}

/** What a program needs in order to start, in words; undefined for nothing. */
async function interpreterOf(binary: string): Promise<string | undefined> {
  try {
    const interpreter = await elfInterpreter(binary);
    return interpreter === undefined ? undefined : `linked dynamically (${interpreter})`;
  } catch (error) {
    if (error instanceof Corrupt) return 'no 64-bit ELF program';
    throw error;
  }
}
