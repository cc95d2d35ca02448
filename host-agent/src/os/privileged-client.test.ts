import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PrivilegedClient, PrivilegedProgramFailed } from './privileged-client.js';

describe("the daemon's side of the privileged helper", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'privileged-client-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** A helper that another program than sudo runs. */
  async function client(script: string): Promise<PrivilegedClient> {
    const path = join(folder, 'helper');
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, 0o755);
    return new PrivilegedClient(path, ['env', '--']);
  }
  const answering = (version: string, capabilities: string): Promise<PrivilegedClient> =>
    client(`case "$1" in version) echo '${version}';; capabilities) printf '${capabilities}';; esac`);

  it('calls it word by word, and gives what it prints', async () => {
    expect(await (await client('printf "%s|" "$@"')).call(['zfs', 'a b', '$HOME', ''])).toBe('zfs|a b|$HOME||');
  });

  it('takes one of its own version that can do what is needed', async () => {
    const helper = await answering('1.0.0', 'zfs\\n');
    expect(await helper.assertUsable('1.0.0', ['zfs'])).toEqual({ version: '1.0.0', capabilities: ['zfs'] });
    expect(await (await answering('1.0.0', '')).assertUsable('1.0.0', [])).toMatchObject({ capabilities: [] });
  });

  it('refuses one of another version, and one that cannot do what is needed', async () => {
    await expect((await answering('0.9.0', 'zfs\\n')).assertUsable('1.0.0', [])).rejects.toMatchObject({
      kind: 'Unsupported',
      reason: 'HELPER_VERSION',
      message: expect.stringContaining('is of version "0.9.0", the daemon of 1.0.0: install both') as string,
    });
    await expect((await answering('1.0.0', 'zfs-2\\n')).assertUsable('1.0.0', ['zfs'])).rejects.toMatchObject({
      kind: 'Unsupported',
      reason: 'HELPER_CAPABILITY',
      message: expect.stringContaining('lacks zfs, which takes the package zfsutils-linux') as string,
    });
    await expect((await answering('1.0.0', 'zfs\\n')).assertUsable('1.0.0', ['network'])).rejects.toMatchObject({
      message: expect.stringContaining('lacks network, which takes the package nftables') as string,
    });
  });

  it.each([
    ['echo "offshoot-privileged: refused: no" >&2; exit 2', { reason: 'HELPER_REFUSED', kind: 'Unsupported' }],
    ['exit 4', { reason: 'PROGRAM_MISSING', metadata: { program: 'zfs' } }],
    ['echo "sudo: a password is required" >&2; exit 1', { reason: 'HELPER_UNREACHABLE', kind: 'Unreachable' }],
    ['kill -9 $$', { reason: 'HELPER_UNREACHABLE' }],
  ])('says what is wrong with one that does: %s', async (script, error) => {
    await expect((await client(script)).call(['zfs'])).rejects.toMatchObject(error);
  });

  it("keeps the program's own words", async () => {
    const failed = (await client('echo "dataset does not exist" >&2; exit 3')).call(['zfs', 'list']);
    await expect(failed).rejects.toBeInstanceOf(PrivilegedProgramFailed);
    await expect(failed).rejects.toMatchObject({ stderr: 'dataset does not exist' });
  });

  it.each([
    ['SUBNET_TAKEN: the subnet is taken', { reason: 'SUBNET_TAKEN', message: 'the subnet is taken' }],
    ['SYSTEM_CALL_FAILED: EXFULL: rtnetlink', { reason: undefined, message: 'EXFULL: rtnetlink' }],
    ['cannot open: dataset does not exist', undefined],
    ['cannot open: dataset does not exist\nSUBNET_TAKEN: said by a program', undefined],
  ])('knows why the helper itself failed: %s', async (words, failure) => {
    const failed = (await client(`echo '${words}' >&2; exit 3`)).call(['bridge']);
    await expect(failed).rejects.toMatchObject({ stderr: words, failure });
  });

  it('does not take what sudo says before for words of the helper', async () => {
    const script = (words: string, status: number): string => `printf '${words}\\n' >&2; exit ${String(status)}`;
    const warnings = 'sudo: unable to resolve host lab: Name or service not known\\nsudo: more';
    const call = async (words: string, status: number): Promise<string> =>
      (await client(script(`${warnings}\\n${words}`, status))).call(['bridge']);
    await expect(call('DISK_FULL: sudo: no room', 3)).rejects.toMatchObject({
      stderr: 'DISK_FULL: sudo: no room',
      failure: { reason: 'DISK_FULL', message: 'sudo: no room' },
    });
    await expect(call('offshoot-privileged: refused: no', 2)).rejects.toMatchObject({
      message: expect.stringMatching(/refused: offshoot-privileged: refused: no$/) as string,
    });
    // Whatever sudo says when it is what fails is why.
    await expect(call('sudo: a password is required', 1)).rejects.toMatchObject({
      message: expect.stringContaining('unable to resolve host lab') as string,
    });
    await expect((await client(`printf '${warnings}\\n' >&2; echo done`)).call(['bridge'])).resolves.toBe('done');
  });

  it('says that the helper took too long, whatever sudo warned of', async () => {
    const slow = await client('echo "sudo: unable to resolve host lab" >&2; exec sleep 60');
    await expect(slow.call(['version'], 500)).rejects.toMatchObject({
      reason: 'HELPER_UNREACHABLE',
      message: expect.stringContaining('it did not answer within 0.5 s: ') as string,
    });
  });

  it('says that sudo is not there', async () => {
    const helper = new PrivilegedClient('/helper', [join(folder, 'no-sudo'), '-n']);
    await expect(helper.call(['version'])).rejects.toMatchObject({
      reason: 'HELPER_UNREACHABLE',
      message: expect.stringMatching(/cannot be run by .*no-sudo -n: .*ENOENT/s) as string,
    });
  });
});
