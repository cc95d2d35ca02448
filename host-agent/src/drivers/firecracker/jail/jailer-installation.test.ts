import { chmod, copyFile, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { UnusableVmm } from '../../kvm-vmm-installation.js';
import { inspectJailer } from './jailer-installation.js';

/** An ELF header without segments: a program that needs no interpreter, and is none. */
function staticProgram(): Buffer {
  const header = Buffer.alloc(64 + 56);
  header.write('\x7fELF\x02\x01', 'latin1');
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  return header;
}

describe('looking for a jailer', () => {
  let directory: string;
  let firecracker: string;
  beforeAll(async () => {
    directory = await realpath(await mkdtemp(join(tmpdir(), 'jailer-')));
    firecracker = join(directory, 'firecracker-1');
    await writeFile(firecracker, staticProgram());
    await symlink(firecracker, join(directory, 'firecracker'));
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });
  afterAll(() => rm(directory, { recursive: true }));

  async function jailer(says: string): Promise<string> {
    const path = join(directory, 'jailer');
    await writeFile(path, `#!/bin/sh\necho '${says}'\n`);
    await chmod(path, 0o755);
    return path;
  }
  const inspect = (program: string, binary = join(directory, 'firecracker')) =>
    inspectJailer(program, { binary, version: '1.17.0-dev' });
  const failureOf = async (...of: Parameters<typeof inspect>): Promise<UnusableVmm> => {
    const failure = await inspect(...of).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UnusableVmm);
    return failure as UnusableVmm;
  };

  it('takes one of the version of Firecracker, whatever name that goes by', async () => {
    const program = await jailer('Jailer v1.17.0-dev');
    expect(await inspect(program)).toEqual({
      jailer: program,
      firecracker,
      unshare: expect.stringMatching(/^\/.*\/unshare$/) as string,
    });
  });

  it('says that there is none', async () => {
    expect(await failureOf('jailer-that-is-not-there')).toMatchObject({
      reason: 'PROGRAM_MISSING',
      version: '1.17.0-dev',
      message: 'no jailer binary: jailer-that-is-not-there is not an executable file',
    });
  });

  it.each(['1.16.0', '1.17.0', '1.18.0-dev'])('refuses %s, naming both versions', async (version) => {
    const failure = await failureOf(await jailer(`Jailer v${version}`));
    expect(failure.reason).toBe('JAILER_UNUSABLE');
    expect(failure.message).toMatch(new RegExp(`is version ${version}, .*firecracker is 1.17.0-dev: `));
  });

  it('refuses another program', async () => {
    expect((await failureOf(await jailer('Firecracker v1.17.0-dev'))).message).toContain("is no Firecracker's jailer");
  });

  it('refuses to jail what is linked dynamically, or no program', async () => {
    const dynamic = join(directory, 'dynamic');
    await copyFile(process.execPath, dynamic);
    const program = await jailer('Jailer v1.17.0-dev');
    expect((await failureOf(program, dynamic)).message).toMatch(/linked dynamically \(\/.*\), needed is .* statically/);
    expect((await failureOf(program, program)).message).toContain('no 64-bit ELF program');
  });

  it('says which of the other programs are missing', async () => {
    const program = await jailer('Jailer v1.17.0-dev');
    const path = await mkdtemp(join(directory, 'bin-'));
    vi.stubEnv('PATH', path);
    expect((await failureOf(program)).message).toMatch(/^no unshare, sh, mount, mkdir, mknod, chown on the PATH/);
    for (const tool of ['unshare', 'sh', 'mkdir', 'mknod', 'chown']) await copyFile(program, join(path, tool));
    expect((await failureOf(program)).message).toMatch(/^no mount on the PATH/);
  });
});
