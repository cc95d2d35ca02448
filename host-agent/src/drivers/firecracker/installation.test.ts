import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UnusableFirecracker, inspectInstallation } from './installation.js';

describe('looking for a Firecracker', () => {
  let directory: string;
  let kvm: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'firecracker-'));
    kvm = join(directory, 'kvm');
    await writeFile(kvm, '');
  });
  afterAll(() => rm(directory, { recursive: true }));

  /** A program that says this when it is asked its version. */
  async function program(says: string): Promise<string> {
    const path = join(directory, 'firecracker');
    await writeFile(path, `#!/bin/sh\necho '${says}'\n`);
    await chmod(path, 0o755);
    return path;
  }
  const failureOf = async (binary: string): Promise<UnusableFirecracker> => {
    const failure = await inspectInstallation(binary, kvm).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UnusableFirecracker);
    return failure as UnusableFirecracker;
  };

  it('says that there is none', async () => {
    expect(await failureOf('firecracker-that-is-not-there')).toMatchObject({ reason: 'PROGRAM_MISSING' });
  });

  it.each(['1.16.9', '1.15.9', '0.99.99', '1.7.3-dev'])('refuses %s, naming both versions', async (version) => {
    const failure = await failureOf(await program(`Firecracker v${version}`));
    expect(failure).toMatchObject({ reason: 'HYPERVISOR_TOO_OLD', version });
    expect(failure.message).toContain(`is version ${version}, needed is 1.17.0 or later`);
  });

  it.each(['1.17.0', '1.17.0-dev', '2.0.0'])('takes %s', async (version) => {
    const binary = await program(`Firecracker v${version}`);
    expect(await inspectInstallation(binary, kvm)).toEqual({ binary, version });
  });

  it('says why there is no KVM', async () => {
    const binary = await program('Firecracker v1.17.0');
    const failure = await inspectInstallation(binary, join(directory, 'no-kvm')).catch((error: unknown) => error);
    expect(failure).toMatchObject({ reason: 'KVM_UNAVAILABLE', version: '1.17.0' });
    expect(String(failure)).toMatch(/no-kvm cannot be opened for reading and writing: ENOENT/);
  });

  it('refuses another program', async () => {
    expect((await failureOf(await program('Toaster v2.0.0'))).message).toContain('calls itself "Toaster v2.0.0"');
    expect((await failureOf('false')).message).toContain('does not say its version');
  });
});
