import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { SettingKey } from '@offshoot/host-agent/config/settings.js';
import { execa, execaSync } from 'execa';
import { WITH_OPEN_TUN, missingForNamespaces } from '../../host-agent/src/network/testing/namespaces.js';
import { MountNamespace } from '../../host-agent/src/os/testing/mount-namespace.js';
import {
  allowBySudo,
  copyEtc,
  forbidBySudo,
  missingForLauncher,
  missingForSudo,
  sudoersLine,
} from '../../host-agent/src/privileged/testing/real-sudo.js';
import { REPOSITORY, readPages } from '../docs/page.js';
import { IMAGES } from './cache.js';
import { isImageFile } from './image-directory.js';

/** Another user than root for a daemon, set up by the commands of docs/operating.md. */
export interface DaemonUserOptions {
  /** A ZFS dataset that is there, for the daemon to have. */
  readonly zfsDataset?: string;
  /** Where the user, its line in sudoers and the rule for udev go: a copy of /etc, or that of a machine which is thrown away. */
  readonly etc?: 'a copy' | "the machine's";
}

const NAME = 'offshoot';
/** The page's places, in whose stead a test has its own. */
const PAGE = { installation: '/opt/offshoot', state: '/var/lib/offshoot', dataset: 'tank/offshoot' };
/** What the page says of the blocks of commands that are run here (see test/docs). */
const FOR_USER = /^makes a user and lets it call the helper;/;
const FOR_ZFS = /^has udev give the devices of volumes to the daemon;/;

/** What of the machine such a user takes; empty where nothing is missing. */
export function missingForDaemonUser(): string {
  const missing = missingForNamespaces() ?? (missingForSudo() || missingForLauncher());
  if (missing !== '') return missing;
  return execaSync('useradd', ['--help'], { reject: false }).failed ? 'useradd' : '';
}

/** The user that a daemon runs as, which has root's helper by the real sudo. What is the user's is seen in a mount namespace. */
export class DaemonUser implements AsyncDisposable {
  private constructor(
    private readonly system: MountNamespace,
    private readonly options: DaemonUserOptions,
    private readonly stateDirectory: string,
  ) {}

  /** @param root folder of the daemon's own, given to the user with all that is in it @param stateDirectory below it */
  static async open(root: string, stateDirectory: string, options: DaemonUserOptions): Promise<DaemonUser> {
    const user = new DaemonUser(
      await MountNamespace.open(),
      options,
      realpathSync(root) + stateDirectory.slice(root.length),
    );
    try {
      await user.install(root);
      return user;
    } catch (error) {
      await user[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What stands before a program that this user runs. */
  get through(): readonly [string, ...string[]] {
    return [
      ...this.system.entry,
      'setpriv',
      `--reuid=${NAME}`,
      `--regid=${NAME}`,
      '--init-groups',
      '--inh-caps=-all',
      '--',
    ];
  }

  get helper(): string {
    return join(REPOSITORY, 'bin/offshoot-privileged');
  }

  /** Of a daemon that has the helper, images in its state directory, and few TAPs, which root makes one by one. */
  get settings(): Partial<Record<SettingKey, string>> {
    const { zfsDataset } = this.options;
    return {
      images_dir: '',
      'privileged.helper': this.helper,
      'network.mode': 'tap',
      'limits.instances': '6',
      ...(zfsDataset === undefined ? {} : { 'storage.zfs_dataset': zfsDataset }),
    };
  }

  /** @returns its id */
  async uid(): Promise<number> {
    return Number(await this.system.run('id', '-u', NAME));
  }

  /** Lines of the helper's log so far. */
  logged(): readonly string[] {
    return readFileSync(this.system.inside('/var/log/offshoot-privileged.log'), 'utf8').split('\n').slice(0, -1);
  }

  /** Takes the user's line out of sudoers. */
  async forbid(): Promise<void> {
    await forbidBySudo(this.system);
  }

  /** Puts it back. */
  async allow(): Promise<void> {
    await allowBySudo(this.system, sudoersLine(NAME, this.helper));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.system[Symbol.asyncDispose]();
  }

  /** Copies the images of the tests into the state directory: those of root are of no use to another user. */
  async bringImages(): Promise<void> {
    const images = join(this.stateDirectory, 'images');
    for (const name of readdirSync(IMAGES).filter((each) => /^[0-9a-f]{64}$/.test(each))) {
      mkdirSync(join(images, name), { recursive: true });
      for (const file of readdirSync(join(IMAGES, name)).filter(isImageFile))
        execFileSync('cp', ['-a', '--sparse=always', join(IMAGES, name, file), join(images, name, file)]);
    }
    await this.give(images);
  }

  private async give(folder: string): Promise<void> {
    execFileSync('chown', ['-R', `${String(await this.uid())}:${await this.system.run('id', '-g', NAME)}`, folder]);
  }

  private async install(root: string): Promise<void> {
    const { zfsDataset, etc = 'a copy' } = this.options;
    if (etc === 'a copy') {
      await copyEtc(this.system);
      await this.system.run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', '/var/log');
      // As udev has it on most machines.
      await this.system.run(...WITH_OPEN_TUN, 'true');
    }
    await this.showCheckout(root);
    await this.runCommands(FOR_USER);
    // It is the machine's udev, which knows the users of the machine.
    if (zfsDataset !== undefined && etc !== 'a copy') await this.runCommands(FOR_ZFS);
    await this.give(root);
  }

  /** The commands of a block of the page, in one shell, with a test's own places. */
  private async runCommands(excuse: RegExp): Promise<void> {
    const page = readPages().find(({ path }) => path === 'docs/operating.md');
    const blocks = page?.blocks.filter(({ notRun }) => excuse.test(notRun ?? '')) ?? [];
    if (blocks.length !== 1)
      throw new Error(`docs/operating.md has ${String(blocks.length)} blocks like ${excuse.source}`);
    const commands = (blocks[0]?.commands ?? '')
      .replaceAll(PAGE.installation, REPOSITORY.replace(/\/$/, ''))
      .replaceAll(PAGE.state, this.stateDirectory)
      .replaceAll(PAGE.dataset, this.options.zfsDataset ?? PAGE.dataset);
    const [program, ...rest] = this.system.entry;
    await execa(program, [...rest, 'sh', '-euc', `umask 077\n${commands}`], { stdin: 'ignore' });
  }

  /** Where the checkout is in a folder that is closed to others, such as root's home: opens the way, and shows nothing else there. */
  private async showCheckout(root: string): Promise<void> {
    const checkout = REPOSITORY.replace(/\/$/, '');
    const closed = closedFolderOn(checkout);
    if (closed === undefined) return;
    const aside = join(root, 'checkout');
    mkdirSync(aside);
    await this.system.run(
      'sh',
      '-euc',
      'mount --rbind "$1" "$3"; mount -t tmpfs -o mode=755 none "$2"; mkdir -p "$1"; mount --move "$3" "$1"',
      'show-checkout',
      checkout,
      closed,
      aside,
    );
  }
}

/** The outermost folder on the way to this one that others cannot pass through; undefined where they can. */
function closedFolderOn(path: string): string | undefined {
  const parent = dirname(path);
  const outer = parent === path ? undefined : closedFolderOn(parent);
  return outer ?? ((statSync(path).mode & 0o001) === 0 ? path : undefined);
}
