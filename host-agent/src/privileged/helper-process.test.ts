import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chmod,
  chown,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, execaSync } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HelperLab, ROOT, missingForHelper } from './testing/helper-lab.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const missing = missingForHelper();
const NOBODY = 65534;
const BIN = fileURLToPath(new URL('../../../bin/', import.meta.url));
const PROBE = ['zfs', 'list', '-H', '-d', '0', '-o', 'name', ROOT];

describe.skipIf(missing !== '')(`the helper, called by another user${missing && ` (skipped: ${missing})`}`, () => {
  let lab: HelperLab;
  beforeEach(async () => {
    lab = await HelperLab.open();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  /** Nothing ran, and one line says why, as does one in the log. */
  async function refuses(words: readonly string[], why: RegExp, log = lab.log): Promise<void> {
    const before = (await lab.logged()).length;
    await lab.installZfs(`touch ${join(lab.directory, 'ran')}`);
    const { exitCode, stdout, stderr } = await lab.call(words);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(/^offshoot-privileged: refused: [\x20-\x7e]+$/);
    expect(stderr).toMatch(why);
    await expect(stat(join(lab.directory, 'ran'))).rejects.toThrow('ENOENT');
    if (log !== lab.log) return;
    const lines = await lab.logged();
    expect(lines).toHaveLength(before + 1);
    expect(lines.at(-1)).toMatch(/^\S+Z user 65534 refused \[/);
  }

  it('says its version, and what it can do', async () => {
    expect(await lab.call(['version'])).toMatchObject({ exitCode: 0, stdout: '1.2.3', stderr: '' });
    expect(await lab.call(['capabilities'])).toMatchObject({ exitCode: 0, stdout: 'zfs', stderr: '' });
    await lab.removeZfs();
    expect(await lab.call(['capabilities'])).toMatchObject({ exitCode: 0, stdout: '', stderr: '' });
    expect(await lab.call(PROBE)).toMatchObject({ exitCode: 4, stderr: 'offshoot-privileged: zfs is not installed' });
  });

  it('runs zfs as root, with the words it was given and nothing else of the caller', async () => {
    await lab.installZfs('printf "<%s>" "$@"; echo; /usr/bin/id -u; pwd; /usr/bin/tr "\\0" "\\n" </proc/$$/environ');
    const words = ['zfs', 'create', '-s', '-o', 'volmode=dev', '-V', '131072', `${ROOT}/base/x`];
    const { exitCode, stdout } = await lab.call(words, { ZFS_COLOR: 'x', LD_DEBUG_OUTPUT: 'x' });
    const [first, uid, folder, ...environment] = stdout.split('\n');
    expect(exitCode).toBe(0);
    expect(first).toBe(
      words
        .slice(1)
        .map((word) => `<${word}>`)
        .join(''),
    );
    expect([uid, folder]).toEqual(['0', '/']);
    expect(environment).toEqual(['LC_ALL=C', `PATH=${join(lab.directory, 'sbin')}`]);
  });

  it('hands on what zfs says when it fails, with a status of its own', async () => {
    await lab.installZfs('echo "cannot open: dataset does not exist" >&2; exit 2');
    const ended = await lab.call(PROBE);
    expect(ended).toMatchObject({ exitCode: 3, stdout: '', stderr: 'cannot open: dataset does not exist' });
  });

  it('refuses what is no command, and names those that begin alike', async () => {
    await refuses([], /a call of no words is no command of the helper, which has: version; capabilities; zfs list/);
    await refuses(['sh', '-c', 'id'], /"sh" "-c" "id" is no command/);
    await refuses(['zfs', 'destroy', '-R', `${ROOT}/x`], /which has: zfs destroy SNAPSHOT; zfs destroy -r DATASET$/);
    await refuses(['zfs', 'destroy', '-r', ROOT], /DATASET has to be strictly below tank\/offshoot, like/);
    await refuses(['zfs', 'list', '-H', '-d', '0', '-o', 'name', 'tank'], /ROOT has to be tank\/offshoot, not "tank"/);
    await refuses(['zfs', 'promote', `${ROOT}/../other`], /strictly below/);
    await refuses(['zfs', 'rename', `${ROOT}/a@x`, `${ROOT}/b@x`], /within its dataset/);
    await refuses(['zfs', 'create', '-s', '-o', 'volmode=dev', '-V', '5', `${ROOT}/x`], /a multiple of 131072/);
    await refuses(['zfs', 'clone', '-o', 'volmode=full', `${ROOT}/a@x`, `${ROOT}/b`], /volmode=dev or volmode=none/);
  });

  it('sets up no network but the configured one, and that for somebody', async () => {
    const hash = createHash('sha256').update(lab.state).digest('hex').slice(0, 6);
    const [bridge, subnet] = [`ofbr-${hash}`, '10.9.8.0/24'];
    await refuses(['bridge', 'create', bridge, subnet], /the configuration names no network_subnet/);
    await refuses(['nftables', 'set', `offshoot_${hash}`, 'open_ports=udp:4000'], /names no network_subnet/);
    await refuses(['tap', 'create', `ofk-${hash}`], /names no network_subnet/);
    await refuses(['bridge', 'delete', bridge], /names no network_subnet/);
    await lab.configure({ network_subnet: subnet, state_directory: lab.state, log: lab.log });
    await refuses(['bridge', 'create', 'br0', subnet], new RegExp(`BRIDGE has to be ${bridge}, which is that of the`));
    await refuses(['bridge', 'create', bridge, '10.9.0.0/16'], /SUBNET has to be 10.9.8.0\/24, which the/);
    await refuses(['bridge', 'delete', 'docker0'], /BRIDGE has to be/);
    await refuses(['tap', 'create', `oft-${hash}-0`], /KEEPER has to be/);
    await refuses(['tap', 'create', bridge, subnet, '251'], /COUNT has to be 1 to 250, not "251"/);
    await refuses(['nftables', 'set', `offshoot_${hash}`, 'open_ports=udp:22'], /1 to 16 of udp:PORT or tcp:PORT/);
    await refuses(['nftables', 'set', 'filter', 'open_ports=udp:4000'], /TABLE has to be offshoot_/);
    await refuses(PROBE, /the configuration names no zfs_dataset/);
    // By nobody but root itself.
    const [, ...asRoot] = lab.rootOfTest;
    const direct = execaSync('setpriv', [...asRoot, lab.helper, 'tap', 'create', `ofk-${hash}`], { reject: false });
    expect(direct).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/SUDO_UID, which is ""$/) as string });
    await rename(lab.state, `${lab.state}-real`);
    await symlink(`${lab.state}-real`, lab.state);
    await refuses(['bridge', 'create', bridge, subnet], /without symbolic links/);
  });

  it('can do what its configuration allows and its programs do', async () => {
    const able = async (): Promise<string> => (await lab.call(['capabilities'])).stdout;
    expect(await able()).toBe('zfs');
    await lab.configure({ network_subnet: '10.9.8.0/24', state_directory: lab.state, log: lab.log });
    expect(await able()).toBe('');
    await lab.installNft();
    expect(await able()).toBe(existsSync('/dev/net/tun') ? 'network' : '');
  });

  it('notes a state directory that is the configured one, by no other path and no symbolic link', async () => {
    const set = (path: string): string[] => ['zfs', 'set', `offshoot:state_directory=${path}`, ROOT];
    expect(await lab.call(set(lab.state))).toMatchObject({ exitCode: 0 });
    await refuses(set('/'), /which the configuration names/);
    await refuses(set(`${lab.state}/../state`), /which the configuration names/);
    await rename(lab.state, `${lab.state}-real`);
    await refuses(set(lab.state), /without symbolic links/);
    await symlink(`${lab.state}-real`, lab.state);
    await refuses(set(lab.state), /without symbolic links/);
  });

  describe('trusts no configuration', () => {
    it('of another user', async () => {
      await chown(lab.configuration, NOBODY, NOBODY);
      await refuses(PROBE, /has to be owned by root, not by the user 65534/);
      await refuses(['version'], /has to be owned by root/);
    });

    it.each([0o664, 0o646])('that others may write: mode %o', async (mode) => {
      await chmod(lab.configuration, mode);
      await refuses(PROBE, /has to be writable by root alone/);
    });

    it.each([0o775, 0o757])('in a folder that others may write: mode %o', async (mode) => {
      await chmod(join(lab.directory, 'etc'), mode);
      await refuses(PROBE, /etc has to be writable by root alone/);
    });

    it('in a folder of another user, or below one', async () => {
      await chown(lab.directory, NOBODY, NOBODY);
      // Nor is the log, which is below it, to be trusted then.
      await refuses(PROBE, /has to be owned by root/, 'none');
    });

    it('that is a symbolic link, or below one', async () => {
      const folder = join(lab.directory, 'etc');
      await rename(lab.configuration, `${lab.configuration}.real`);
      await symlink(`${lab.configuration}.real`, lab.configuration);
      await refuses(PROBE, /no symbolic link/);
      await rename(folder, `${folder}-real`);
      await symlink(`${folder}-real`, folder);
      await refuses(PROBE, /without symbolic links/);
    });

    it('that is missing, a folder, a FIFO, or has a second name', async () => {
      await link(lab.configuration, `${lab.configuration}-2`);
      await refuses(PROBE, /a regular file with one name/);
      await rm(lab.configuration);
      await refuses(PROBE, /ENOENT/);
      await mkdir(lab.configuration);
      await refuses(PROBE, /a regular file/);
      await rm(lab.configuration, { recursive: true });
      execaSync('mkfifo', [lab.configuration]);
      await refuses(PROBE, /a regular file/);
    });

    it.each<[string, RegExp]>([
      ['', /is no JSON/],
      ['[]', /one JSON object/],
      ['{"zfs_dataset":"tank","state_directory":"/s","more":1}', /"more" is none of its keys/],
      ['{"zfs_dataset":"tank/../x","state_directory":"/s"}', /the name of a dataset/],
      [`{"zfs_dataset":"${'n'.repeat(256)}","state_directory":"/s"}`, /the name of a dataset/],
      ['{"zfs_dataset":"","state_directory":"/s"}', /the name of a dataset/],
      ['{"zfs_dataset":"tank","state_directory":"s"}', /an absolute path/],
      ['{"zfs_dataset":"tank","state_directory":"/s/../t"}', /an absolute path/],
      ['{"zfs_dataset":"tank"}', /an absolute path/],
      ['{"network_subnet":"10.9.8.0","state_directory":"/s"}', /network_subnet may be left out.*prefix of 16 to 28/],
      ['{"network_subnet":"10.9.8.1/24","state_directory":"/s"}', /first address \(10.9.8.0\/24\)/],
      ['{"network_subnet":["10.9.8.0/24"],"state_directory":"/s"}', /network_subnet may be left out/],
      ['{"state_directory":"/s","images_directory":"images"}', /images_directory has to be an absolute path/],
      ['{"zfs_dataset":"tank","state_directory":"/s","log":"l"}', /the absolute path of a file/],
    ])('that says %s', async (text, why) => {
      await writeFile(lab.configuration, text);
      await refuses(PROBE, why);
    });
  });

  describe('logs each call in a line', () => {
    it('with who called, and what became of it, printable whatever was given', async () => {
      await lab.call(PROBE);
      await lab.call(['version']);
      await lab.call(['zfs', '\n2027 user 0 carried out [x]\r\u001b[2J\u202e\u0085', 'ü']);
      await lab.call(Array.from({ length: 40 }, () => 'w'.repeat(5000)));
      const lines = await lab.logged();
      expect(lines).toHaveLength(4);
      for (const line of lines) expect(line).toMatch(/^[\x20-\x7e]{1,8000}$/);
      expect(lines[0]).toMatch(/^\S+Z user 65534 carried out \["zfs" "list" .* "tank\/offshoot"\]$/);
      expect(lines[2]).toMatch(/user 65534 refused \["zfs" "\\n2027 .*\\u001b\[2J\\u202e\\u0085" "\\u00fc"\]: /);
      expect(lines[3]).toMatch(/ and 24 more\]/);
      expect((await stat(lab.log)).mode & 0o777).toBe(0o600);
    });

    it('and carries out none that it cannot log', async () => {
      await symlink(join(lab.directory, 'elsewhere'), lab.log);
      await refuses(PROBE, /no symbolic link/, 'none');
      await rm(lab.log);
      await writeFile(lab.log, '');
      await chown(lab.log, NOBODY, NOBODY);
      await refuses(PROBE, /has to be owned by root/, 'none');
      await expect(readFile(join(lab.directory, 'elsewhere'))).rejects.toThrow('ENOENT');
    });

    it('of many calls at a time, whole', async () => {
      await Promise.all(Array.from({ length: 8 }, () => lab.call(PROBE)));
      const lines = await lab.logged();
      expect(lines).toHaveLength(8);
      for (const line of lines) expect(line).toMatch(/^\S+Z user 65534 carried out \["zfs".*\]$/);
    });
  });

  it('is nothing without root', async () => {
    expect(await lab.asCaller(lab.helper, 'version')).toMatchObject({
      exitCode: 2,
      stdout: '',
      stderr: 'offshoot-privileged: refused: root has to run it, by sudo -n',
    });
    expect(await lab.logged()).toEqual([]);
  });
});

describe('the launcher of the helper', () => {
  it('lets nothing of the environment reach Node but who calls', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'offshoot-launcher-'));
    const dist = join(folder, 'host-agent/dist/privileged');
    const [bin, evil] = [join(folder, 'bin'), join(folder, 'evil')];
    for (const each of [bin, evil, dist]) await mkdir(each, { recursive: true });
    for (const name of ['offshoot-privileged', 'launch.mjs']) await copyFile(join(BIN, name), join(bin, name));
    await writeFile(
      join(dist, 'main.js'),
      'console.log(JSON.stringify([process.argv.slice(2), Object.keys(process.env).sort(), process.env.SUDO_UID]))',
    );
    await writeFile(join(folder, 'package.json'), '{"type":"module"}');
    await writeFile(join(evil, 'node'), '#!/bin/sh\necho evil\n', { mode: 0o755 });
    await writeFile(join(evil, 'evil.cjs'), 'console.log("evil")');
    const { stdout } = await execa(join(bin, 'offshoot-privileged'), ['a b', ''], {
      env: { PATH: `${evil}:${process.env.PATH ?? ''}`, NODE_OPTIONS: `-r ${evil}/evil.cjs`, SUDO_UID: '7' },
    });
    expect(JSON.parse(stdout)).toEqual([['a b', ''], ['PATH', 'SUDO_UID'], '7']);
    await rm(folder, { recursive: true });
  });
});
