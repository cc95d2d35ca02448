import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PrivilegedClient } from '../os/privileged-client.js';
import { HelperLab, ROOT, missingForCarrier, type Ended } from './testing/helper-lab.js';
import { sudoersLine } from './testing/real-sudo.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const missing = missingForCarrier('the real sudo');
const PROBE = ['zfs', 'list', '-H', '-d', '0', '-o', 'name', ROOT];

/** Another user with a line in passwd, as sudo wants it: `daemon`. */
const OTHER_USER = 1;

describe.skipIf(missing !== '')(`the real sudo${missing && ` (skipped: ${missing})`}`, () => {
  let lab: HelperLab;
  beforeEach(async () => {
    lab = await HelperLab.open('the real sudo');
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  /** sudo itself, not the helper, says so, and the helper has not run. */
  async function refusedBySudo(ended: Promise<Ended>): Promise<void> {
    const before = await lab.logged();
    const { exitCode, stdout, stderr } = await ended;
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toMatch(/^sudo: a password is required$/m);
    expect(await lab.logged()).toEqual(before);
  }

  it('lets the user of its line call the helper, which does as it is told or refuses', async () => {
    expect(await lab.call(['version'])).toMatchObject({ exitCode: 0, stdout: '1.2.3', stderr: '' });
    expect(await lab.call(['capabilities'])).toMatchObject({ exitCode: 0, stdout: 'zfs', stderr: '' });
    const words = ['zfs', 'destroy', '-r', `${ROOT}/instances/x_y`];
    const carriedOut = await lab.call(words);
    expect(carriedOut).toMatchObject({ exitCode: 0, stderr: '' });
    expect(carriedOut.stdout).toMatch(new RegExp(`^<destroy><-r><${ROOT}/instances/x_y>\n`));
    expect(await lab.call(['zfs', 'destroy', '-r', ROOT])).toMatchObject({
      exitCode: 2,
      stdout: '',
      stderr: expect.stringMatching(/^offshoot-privileged: refused: DATASET has to be strictly below/) as string,
    });
    expect(await lab.logged()).toEqual([
      expect.stringMatching(/^\S+Z user 65534 carried out \["version"\]$/),
      expect.stringMatching(/^\S+Z user 65534 carried out \["capabilities"\]$/),
      expect.stringMatching(/^\S+Z user 65534 carried out \["zfs" "destroy"/),
      expect.stringMatching(/^\S+Z user 65534 refused \["zfs" "destroy"/),
    ]);
  });

  it('lets nobody without a line call it, and asks nobody', async () => {
    await refusedBySudo(lab.as(OTHER_USER, 'sudo', '-n', lab.helper, 'version'));
    await lab.forbid();
    await refusedBySudo(lab.call(['version']));
  });

  it('lets the user call nothing else', async () => {
    const theirs = join(lab.directory, 'theirs');
    await mkdir(theirs, { mode: 0o777 });
    await chmod(theirs, 0o777);
    const script = join(theirs, 'offshoot-privileged');
    await writeFile(script, '#!/bin/sh\nid\n', { mode: 0o755 });
    for (const command of [['id'], ['/bin/sh', '-c', 'id'], [script], ['env', lab.helper, 'version']])
      await refusedBySudo(lab.asCaller('sudo', '-n', ...command));
    // Nor as another user than root.
    await refusedBySudo(lab.asCaller('sudo', '-n', '-u', 'daemon', lab.helper, 'version'));
  });

  it('says to the client why, with what would help', async () => {
    await lab.forbid();
    await expect(new PrivilegedClient(lab.helper, lab.carrier).call(['version'])).rejects.toMatchObject({
      reason: 'HELPER_UNREACHABLE',
      message: expect.stringMatching(/sudo: a password is required.*NOPASSWD: \S*offshoot-privileged/s) as string,
    });
  });

  it('is understood where it does not find the name of its host, and says so at each call', async () => {
    const nameless = ['unshare', '--uts', '--net', 'sh', '-c', 'hostname nowhere.invalid && exec "$@"', 'sh'] as const;
    const client = new PrivilegedClient(lab.helper, [...nameless, ...lab.carrier]);
    await lab.installZfs('echo "cannot open: dataset does not exist" >&2; exit 1');
    await expect(client.call(PROBE)).rejects.toMatchObject({ stderr: 'cannot open: dataset does not exist' });
    const [program, ...rest] = [...nameless, ...lab.carrier];
    const { stderr } = await execa(program, [...rest, lab.helper, ...PROBE], { reject: false });
    expect(stderr).toMatch(/^sudo: unable to resolve host nowhere\.invalid/);
  });

  describe('passes nothing of the environment of its caller on', () => {
    /** Whatever of it is run or loaded leaves a trace. */
    let evil: string;
    const traces = (): Promise<string> => readFile(join(evil, 'traces'), 'utf8').catch(() => '');
    beforeEach(async () => {
      evil = join(lab.directory, 'evil');
      await mkdir(evil);
      await chmod(evil, 0o777);
      await writeFile(join(evil, 'evil.cjs'), `require('node:fs').appendFileSync('${evil}/traces', 'loaded\\n')`);
      for (const program of ['node', 'zfs', 'env', 'dirname', 'readlink']) {
        await writeFile(join(evil, program), `#!/bin/sh\necho ran ${program} >>${evil}/traces\n`);
        await chmod(join(evil, program), 0o755);
      }
      await writeFile(join(evil, 'evil.c'), SAYS_THAT_IT_IS_LOADED);
      await execa('gcc', [
        '-shared',
        '-fPIC',
        `-DTRACES="${evil}/traces"`,
        '-o',
        join(evil, 'evil.so'),
        join(evil, 'evil.c'),
      ]);
    });

    /** Only from sudo on: what leads there is the test's own. */
    const callWith = (environment: Readonly<Record<string, string>>, words: readonly string[]): Promise<Ended> => {
      const assignments = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
      return lab.asCaller('env', ...assignments, '/usr/bin/sudo', '-n', lab.helper, ...words);
    };
    const hostile = (): Readonly<Record<string, string>> => ({
      PATH: evil,
      NODE_OPTIONS: `--require=${evil}/evil.cjs`,
      NODE_PATH: evil,
      LD_PRELOAD: join(evil, 'evil.so'),
      LD_LIBRARY_PATH: evil,
      BASH_ENV: join(evil, 'zfs'),
      ENV: join(evil, 'zfs'),
      SUDO_UID: '0',
      ZFS_COLOR: 'x',
    });

    it.each([
      ['as sudo is set up', ''],
      ['where root has it keep all of it, which the launcher does not', 'Defaults !env_reset\nDefaults !secure_path\n'],
      ['where root has it keep what is worst', 'Defaults env_keep += "NODE_OPTIONS NODE_PATH BASH_ENV ENV"\n'],
    ])('%s', async (_, defaults) => {
      await lab.allow(`${defaults}${sudoersLine('nobody', lab.helper)}`);
      const { exitCode, stdout, stderr } = await callWith(hostile(), PROBE);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      const [, ...environment] = stdout.split('\n');
      // What the shell of the script adds itself left out.
      expect(environment.filter((line) => !/^(PWD|_|SHLVL|OLDPWD)=/.test(line)).sort()).toEqual([
        'LC_ALL=C',
        `PATH=${join(lab.directory, 'sbin')}`,
      ]);
      expect(await traces()).toBe('');
      expect((await lab.logged()).at(-1)).toMatch(/user 65534 carried out/);
    });

    it('which would be noticed', async () => {
      await lab.asCaller('env', `LD_PRELOAD=${join(evil, 'evil.so')}`, `PATH=${evil}`, '/bin/sh', '-c', 'zfs');
      await lab.asCaller('env', `NODE_OPTIONS=--require=${evil}/evil.cjs`, process.execPath, '-e', '');
      expect((await traces()).split('\n')).toEqual(expect.arrayContaining(['preloaded', 'ran zfs', 'loaded']));
    });
  });
});

/** A library that leaves a trace in whatever program it is loaded into. */
const SAYS_THAT_IT_IS_LOADED = String.raw`#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
  int fd = open(TRACES, O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (fd >= 0) { if (write(fd, "preloaded\n", 10) != 10) _exit(99); close(fd); }
}
`;
