import { open } from 'node:fs/promises';
import { Unsupported, messageOf } from '@offshoot/shared/errors.js';
import { execa } from 'execa';
import { findProgram } from '../../os/program-path.js';

/** Its snapshots are those this driver knows from here on. */
const OLDEST = 52;

/** A Cloud Hypervisor that can be used. */
export interface CloudHypervisorInstallation {
  /** Absolute. */
  readonly binary: string;
  /** As it gives it but for a `v`, `53.0-246-gae44c2971`: also what captures are bound to. */
  readonly version: string;
}

/** Why it cannot be used, and which version is installed all the same. */
export class UnusableCloudHypervisor extends Unsupported {
  constructor(
    message: string,
    reason: string,
    readonly version = '',
    cause?: unknown,
  ) {
    super(message, { reason, metadata: { program: 'cloud-hypervisor', version }, cause });
  }
}

/**
 * @param program name on the PATH, or a path
 * @param kvm the device it runs on
 * @throws UnusableCloudHypervisor saying what is missing; the signal's reason
 */
export async function inspectInstallation(
  program: string,
  kvm: string,
  signal?: AbortSignal,
): Promise<CloudHypervisorInstallation> {
  const binary = await findProgram(program);
  if (binary === undefined)
    throw new UnusableCloudHypervisor(
      `no cloud-hypervisor binary: ${program} is not an executable file`,
      'PROGRAM_MISSING',
    );
  const version = await askVersion(binary, signal);
  if (Number(/\d+/.exec(version)?.[0]) < OLDEST)
    throw new UnusableCloudHypervisor(
      `${binary} is version ${version}, needed is ${String(OLDEST)} or later`,
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
    throw new UnusableCloudHypervisor(
      `${binary} does not say its version: ${messageOf(error)}`,
      'HYPERVISOR_UNUSABLE',
      '',
      error,
    );
  }
  const version = /^cloud-hypervisor v?(\d+\S*)/m.exec(said)?.[1];
  if (version !== undefined) return version;
  throw new UnusableCloudHypervisor(
    `${binary} is no Cloud Hypervisor: it calls itself ${JSON.stringify(said.slice(0, 200))}`,
    'HYPERVISOR_UNUSABLE',
  );
}

async function assertKvmOpens(kvm: string, version: string): Promise<void> {
  try {
    await (await open(kvm, 'r+')).close();
  } catch (error) {
    throw new UnusableCloudHypervisor(
      `${kvm} cannot be opened for reading and writing: ${messageOf(error)}`,
      'KVM_UNAVAILABLE',
      version,
      error,
    );
  }
}
