import { open } from 'node:fs/promises';
import { Unsupported, messageOf } from '@offshoot/shared/errors.js';
import { execa } from 'execa';
import { findProgram } from '../os/program-path.js';

/** Where the kernel has it. */
export const KVM_DEVICE = '/dev/kvm';

/** A program of VMs on KVM alone, as it is to be. */
export interface VmmKind {
  /** As the program is called. */
  readonly program: string;
  readonly title: string;
  /** Matches what it answers to `--version`; the first group is the version. */
  readonly version: RegExp;
  /** The oldest that can be used, number by number. */
  readonly oldest: readonly number[];
}

/** One that can be used. */
export interface VmmInstallation {
  /** Absolute. */
  readonly binary: string;
  /** As it gives it, `1.17.0-dev`: also what captures are bound to. */
  readonly version: string;
}

/** Why it cannot be used, and which version is installed all the same. */
export class UnusableVmm extends Unsupported {
  constructor(
    { program }: Pick<VmmKind, 'program'>,
    message: string,
    { reason, version = '', cause }: { readonly reason: string; readonly version?: string; readonly cause?: unknown },
  ) {
    super(message, { reason, metadata: { program, version }, cause });
    this.version = version;
  }

  readonly version: string;
}

/**
 * @param program name on the PATH, or a path
 * @param kvm {@link KVM_DEVICE}, but in tests of those who use no KVM
 * @throws UnusableVmm saying what is missing; the signal's reason
 */
export async function inspectVmm(
  kind: VmmKind,
  program: string,
  kvm: string,
  signal?: AbortSignal,
): Promise<VmmInstallation> {
  const binary = await findProgram(program);
  if (binary === undefined)
    throw new UnusableVmm(kind, `no ${kind.program} binary: ${program} is not an executable file`, {
      reason: 'PROGRAM_MISSING',
    });
  const version = await askVersion(kind, binary, signal);
  if (isOlder(version, kind.oldest))
    throw new UnusableVmm(kind, `${binary} is version ${version}, needed is ${kind.oldest.join('.')} or later`, {
      reason: 'HYPERVISOR_TOO_OLD',
      version,
    });
  try {
    await (await open(kvm, 'r+')).close();
  } catch (cause) {
    throw new UnusableVmm(kind, `${kvm} cannot be opened for reading and writing: ${messageOf(cause)}`, {
      reason: 'KVM_UNAVAILABLE',
      version,
      cause,
    });
  }
  return { binary, version };
}

/** Has a program say its version. @throws UnusableVmm `HYPERVISOR_UNUSABLE` when it is another one; the signal's reason */
export async function askVersion(
  kind: Pick<VmmKind, 'program' | 'title' | 'version'>,
  binary: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  let said: string;
  try {
    const { stdout } = await execa(binary, ['--version'], {
      stdin: 'ignore',
      timeout: 10_000,
      maxBuffer: 64 * 1024,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    });
    said = stdout;
  } catch (cause) {
    signal?.throwIfAborted();
    throw new UnusableVmm(kind, `${binary} does not say its version: ${messageOf(cause)}`, {
      reason: 'HYPERVISOR_UNUSABLE',
      cause,
    });
  }
  const version = kind.version.exec(said)?.[1];
  if (version !== undefined) return version;
  throw new UnusableVmm(kind, `${binary} is no ${kind.title}: it calls itself ${JSON.stringify(said.slice(0, 200))}`, {
    reason: 'HYPERVISOR_UNUSABLE',
  });
}

function isOlder(version: string, oldest: readonly number[]): boolean {
  const parts = version.split(/\D+/, oldest.length).map(Number);
  const difference = oldest.map((number, i) => (parts[i] ?? 0) - number).find((d) => d !== 0) ?? 0;
  return difference < 0;
}
