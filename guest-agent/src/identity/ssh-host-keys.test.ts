import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SshHostKeys } from './ssh-host-keys.js';

const hasKeygen = spawnSync('ssh-keygen', ['-?']).error === undefined;

describe('the keys of an SSH server', () => {
  let root: string;
  const ssh = (): Promise<string[]> => readdir(join(root, 'etc/ssh'));
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'offshoot-ssh-'));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it('need not be there', async () => {
    const keys = new SshHostKeys(root);
    expect(keys.remove()).toBe(false);
    await keys.renew();
  });

  it.skipIf(!hasKeygen)(
    `are removed at once, and made anew of the same kinds${hasKeygen ? '' : ' (skipped: ssh-keygen)'}`,
    async () => {
      await mkdir(join(root, 'etc/ssh'), { recursive: true });
      const files = [
        'ssh_host_ed25519_key',
        'ssh_host_ed25519_key.pub',
        'ssh_host_ed25519_key-cert.pub',
        'sshd_config',
      ];
      for (const file of files) await writeFile(join(root, 'etc/ssh', file), 'old');
      const keys = new SshHostKeys(root);
      expect(keys.remove()).toBe(true);
      expect(await ssh()).toEqual(['sshd_config']);
      await keys.renew();
      expect((await ssh()).sort()).toEqual(['ssh_host_ed25519_key', 'ssh_host_ed25519_key.pub', 'sshd_config']);
      expect(await readFile(join(root, 'etc/ssh/ssh_host_ed25519_key.pub'), 'utf8')).toMatch(/^ssh-ed25519 /);
    },
  );
});
