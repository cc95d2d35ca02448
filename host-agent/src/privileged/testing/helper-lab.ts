import { chmod, chown, copyFile, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { execa, execaSync } from 'execa';
import { copyForeignFunctions } from '../../os/testing/foreign-functions.js';
import { MountNamespace } from '../../os/testing/mount-namespace.js';
import { allowBySudo, copyEtc, forbidBySudo, missingForLauncher, missingForSudo, sudoersLine } from './real-sudo.js';

const here = dirname(fileURLToPath(import.meta.url));
const repository = join(here, '../../../..');

/** Who calls the helper: nobody, and its group. */
export const CALLER = 65534;
const AS_ROOT = ['--reuid=0', '--regid=0', '--clear-groups', '--'] as const;

/** The dataset of the lab's configuration. */
export const ROOT = 'tank/offshoot';

/** What of the machine the lab misses; empty where nothing. */
export function missingForHelper(): string {
  if (process.getuid?.() !== 0) return 'root';
  if (execaSync('setpriv', ['--version'], { reject: false }).failed) return 'setpriv';
  const mount = execaSync('findmnt', ['-n', '-o', 'OPTIONS', '--target', tmpdir()], { reject: false });
  const isWithoutIds = !mount.failed && mount.stdout.split(',').includes('nosuid');
  return isWithoutIds ? `a folder for set-user-ID programs, as ${tmpdir()} is not` : '';
}

/** By what another user has root run the helper. */
export type Carrier = 'a double of sudo' | 'the real sudo';

/** The same for a lab with this carrier. */
export const missingForCarrier = (carrier: Carrier): string =>
  missingForHelper() || (carrier === 'the real sudo' ? missingForSudo() || missingForLauncher() : '');

export interface Ended {
  readonly exitCode?: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * The helper as a program of root's, with a script for `zfs`, and what another user has root run it by. That is a double of sudo,
 * a copy of setpriv with the set-user-ID bit, which the caller's group alone may execute; or the real one, with the line that
 * docs/operating.md gives in an /etc of the lab's own, and the launcher that is installed.
 */
export class HelperLab implements AsyncDisposable {
  readonly configuration: string;
  readonly log: string;
  readonly state: string;
  readonly helper: string;
  private readonly sudo: string;
  private readonly setpriv: string;
  private readonly programs: string;
  private readonly devices: string;

  private constructor(
    readonly directory: string,
    /** With an /etc of the lab's own, for the real sudo. */
    private readonly system: MountNamespace | undefined,
  ) {
    this.configuration = join(directory, 'etc/privileged.json');
    this.log = join(directory, 'log/privileged.log');
    this.state = join(directory, 'state');
    this.helper = join(directory, 'bin/offshoot-privileged');
    this.sudo = join(directory, 'bin/sudo');
    this.setpriv = join(directory, 'bin/setpriv');
    this.programs = join(directory, 'sbin');
    this.devices = join(directory, 'dev');
  }

  static async open(carrier: Carrier = 'a double of sudo'): Promise<HelperLab> {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'offshoot-privileged-')));
    const lab = new HelperLab(directory, carrier === 'the real sudo' ? await MountNamespace.open() : undefined);
    try {
      await lab.install();
      return lab;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  async configure(content: object): Promise<void> {
    await writeFile(this.configuration, JSON.stringify(content));
  }

  async becomeVersion(version: string): Promise<void> {
    await writeFile(join(this.directory, 'host-agent/dist/package.json'), JSON.stringify({ version, type: 'module' }));
  }

  async installZfs(script: string): Promise<void> {
    await this.script(join(this.programs, 'zfs'), script);
  }

  /** Makes a file that stands for a volume's device, root's alone. @returns its path */
  async makeVolume(dataset: string, node: string, content: string | Buffer): Promise<string> {
    const path = join(this.devices, node);
    await writeFile(path, content, { mode: 0o600 });
    await writeFile(`${path}.name`, dataset);
    return path;
  }

  /** The machine's own, which is to be run in a network namespace. */
  async installNft(): Promise<void> {
    const { stdout } = await execa('sh', ['-c', 'PATH=$PATH:/usr/sbin:/sbin; command -v nft']);
    await symlink(stdout, join(this.programs, 'nft'));
  }

  async removeZfs(): Promise<void> {
    await rm(join(this.programs, 'zfs'), { force: true });
  }

  /** How root becomes the caller who has root run the helper: what stands before the helper's path. */
  get carrier(): readonly [string, ...string[]] {
    return [...this.asUser(CALLER), ...this.carrierOfCaller];
  }

  /** What the caller itself writes there. */
  get carrierOfCaller(): readonly [string, ...string[]] {
    return [this.system === undefined ? this.sudo : 'sudo', '-n'];
  }

  /** How a test that is the caller does what it, not the helper, needs root for: what stands before a program. */
  get rootOfTest(): readonly [string, ...string[]] {
    return [this.setpriv, ...AS_ROOT];
  }

  /** Calls the helper as the caller. */
  async call(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
    const [program, ...options] = this.carrier;
    return await execa(program, [...options, this.helper, ...words], { reject: false, env });
  }

  /** Runs something as the caller. */
  async asCaller(program: string, ...args: readonly string[]): Promise<Ended> {
    return await this.as(CALLER, program, ...args);
  }

  /** Runs something as the user and the group with this id. */
  async as(user: number, program: string, ...args: readonly string[]): Promise<Ended> {
    const [first, ...rest] = this.asUser(user);
    return await execa(first, [...rest, program, ...args], { reject: false });
  }

  /** Has the real sudo allow what these lines of sudoers do, and nothing else. */
  async allow(sudoers: string): Promise<void> {
    if (this.system !== undefined) await allowBySudo(this.system, sudoers);
  }

  /** Has the real sudo allow nothing. */
  async forbid(): Promise<void> {
    if (this.system !== undefined) await forbidBySudo(this.system);
  }

  /** Its lines so far; none where there is no log. */
  async logged(): Promise<string[]> {
    const text = await readFile(this.log, 'utf8').catch(() => '');
    return text.split('\n').slice(0, -1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.system?.[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true });
  }

  private asUser(user: number): readonly [string, ...string[]] {
    const asUser = ['setpriv', `--reuid=${String(user)}`, `--regid=${String(user)}`, '--clear-groups', '--'] as const;
    return this.system === undefined ? asUser : [...this.system.entry, ...asUser];
  }

  private async install(): Promise<void> {
    await chmod(this.directory, 0o755);
    for (const folder of ['dev', 'etc', 'log', 'state', 'bin', 'sbin', 'host-agent/dist/privileged'])
      await mkdir(join(this.directory, folder), { recursive: true });
    await this.installHelper();
    await this.installSudo();
    if (this.system !== undefined) await copyEtc(this.system);
    await this.allow(sudoersLine('nobody', this.helper));
    await this.configure({ zfs_dataset: ROOT, state_directory: this.state, log: this.log });
    await this.becomeVersion('1.2.3');
    // Says what it was given, word by word, and all that it has in its environment.
    await this.installZfs('printf "<%s>" "$@"; echo; /usr/bin/env');
  }

  /** The program itself, with the places of the lab. */
  private async installHelper(): Promise<void> {
    const places = { configuration: this.configuration, log: this.log, programs: [this.programs] };
    const source = `import { readFile } from 'node:fs/promises';
import { runHelper } from './run-helper.js';
process.exitCode = await runHelper(process.argv.slice(2), process.env.SUDO_UID ?? '', {
  ...${JSON.stringify(places)},
  devices: {
    folder: ${JSON.stringify(this.devices)},
    nodes: /^zd[0-9]+$/,
    volumeOf: (path) => readFile(path + '.name', 'utf8').catch(() => undefined),
  },
});`;
    const program = join(this.directory, 'host-agent/dist/privileged/main.js');
    await build({
      stdin: { contents: source, resolveDir: join(here, '..'), loader: 'ts' },
      outfile: program,
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'esm',
      external: ['koffi'],
      alias: { '@offshoot/shared': join(repository, 'shared/src') },
      logLevel: 'warning',
    });
    await copyForeignFunctions(this.directory);
    if (this.system === undefined) await this.script(this.helper, `exec ${process.execPath} ${program} "$@"`);
    else
      for (const name of ['offshoot-privileged', 'launch.mjs'])
        await copyFile(join(repository, 'bin', name), join(this.directory, 'bin', name));
  }

  private async installSudo(): Promise<void> {
    const { setpriv } = this;
    const { stdout } = await execa('sh', ['-c', 'command -v setpriv']);
    await copyFile(stdout, setpriv);
    await chown(setpriv, 0, CALLER);
    await chmod(setpriv, 0o4750);
    // As the line in sudoers has it: this helper alone, without a question, and a new environment but for who calls.
    await this.script(
      this.sudo,
      `[ "$1" = -n ] && [ "$2" = ${this.helper} ] || { echo 'sudo: a password is required' >&2; exit 1; }
shift
exec env SUDO_UID="$(id -u)" ${this.rootOfTest.join(' ')} "$@"`,
    );
  }

  private async script(path: string, text: string): Promise<void> {
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, 0o755);
  }
}
