import { open } from 'node:fs/promises';
import { Unsupported, messageOf } from '@offshoot/shared/errors.js';
import { execa } from 'execa';
import { findProgram } from '../../os/program-path.js';

/**
 * Below 1.16.1 a guest's vsock connections to the host time out after a restore (its CHANGELOG, #5958); below 1.17 those of the
 * host to a guest that was paused and resumed hang (#6100).
 */
const OLDEST = [1, 17, 0] as const;

/** A Firecracker that can be used. */
export interface FirecrackerInstallation {
  /** Absolute. */
  readonly binary: string;
  /** As it gives it, `1.17.0-dev`: also what captures are bound to. */
  readonly version: string;
}

/** Why it cannot be used, and which version is installed all the same. */
export class UnusableFirecracker extends Unsupported {
  constructor(
    message: string,
    reason: string,
    readonly version = '',
    cause?: unknown,
  ) {
    super(message, { reason, metadata: { program: 'firecracker', version }, cause });
  }
}

/** Where the kernel has it. */
export const KVM_DEVICE = '/dev/kvm';

/**
 * @param program name on the PATH, or a path
 * @param kvm {@link KVM_DEVICE}, but in tests of those who use no KVM
 * @throws UnusableFirecracker saying what is missing; the signal's reason
 */
export async function inspectInstallation(
  program: string,
  kvm: string,
  signal?: AbortSignal,
): Promise<FirecrackerInstallation> {
  const binary = await findProgram(program);
  if (binary === undefined)
    throw new UnusableFirecracker(`no firecracker binary: ${program} is not an executable file`, 'PROGRAM_MISSING');
  const version = await askVersion(binary, signal);
  const oldest = OLDEST.join('.');
  if (isOlder(version))
    throw new UnusableFirecracker(
      `${binary} is version ${version}, needed is ${oldest} or later`,
      'HYPERVISOR_TOO_OLD',
      version,
    );
  await assertKvmOpens(kvm, version);
  return { binary, version };
}

async function askVersion(binary: string, signal: AbortSignal | undefined): Promise<string> {
  let said: string;
  try {
    const { stdout } = await execa(binary, ['--version'], {
      stdin: 'ignore',
      timeout: 10_000,
      maxBuffer: 64 * 1024,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    });
    said = stdout;
  } catch (error) {
    signal?.throwIfAborted();
    throw new UnusableFirecracker(
      `${binary} does not say its version: ${messageOf(error)}`,
      'HYPERVISOR_UNUSABLE',
      '',
      error,
    );
  }
  const version = /^Firecracker v(\d+\.\d+\.\d+\S*)/m.exec(said)?.[1];
  if (version !== undefined) return version;
  throw new UnusableFirecracker(
    `${binary} is no Firecracker: it calls itself ${JSON.stringify(said.slice(0, 200))}`,
    'HYPERVISOR_UNUSABLE',
  );
}

function isOlder(version: string): boolean {
  const parts = version.split(/[^\d]/, 3).map(Number);
  const difference = OLDEST.map((oldest, i) => (parts[i] ?? 0) - oldest).find((d) => d !== 0) ?? 0;
  return difference < 0;
}

/** Firecracker runs on KVM only. */
async function assertKvmOpens(kvm: string, version: string): Promise<void> {
  try {
    await (await open(kvm, 'r+')).close();
  } catch (error) {
    throw new UnusableFirecracker(
      `${kvm} cannot be opened for reading and writing: ${messageOf(error)}`,
      'KVM_UNAVAILABLE',
      version,
      error,
    );
  }
}
