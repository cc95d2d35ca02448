import { chmod, rm, writeFile } from 'node:fs/promises';
import { execaSync } from 'execa';
import { MountNamespace } from '../../os/testing/mount-namespace.js';
import { PLACES } from '../run-helper.js';

/** What of the machine it takes to run the real sudo in a system of a test's own; empty where nothing is missing. */
export function missingForSudo(): string {
  if (process.getuid?.() !== 0) return 'root';
  for (const [program, argument] of [
    ['sudo', '--version'],
    ['visudo', '--version'],
    ['setpriv', '--version'],
    ['nsenter', '--version'],
  ] as const)
    if (execaSync(program, [argument], { reject: false }).failed) return program;
  if (execaSync('unshare', ['--mount', 'true'], { reject: false }).failed) return 'right to make namespaces';
  // Where set-user-ID programs get no rights, as in containers that say so, sudo knows it and ends.
  const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', 'sudo', '-n', 'true'];
  const { stderr } = execaSync('setpriv', asNobody, { reject: false });
  if (/no new privileges|effective uid|nosuid/.test(stderr)) return `a sudo that can work: ${stderr}`;
  return '';
}

/** What the launcher of the helper misses: it takes Node from folders of root's alone. Empty where nothing. */
export function missingForLauncher(): string {
  const path = ['/usr/local/sbin', '/usr/local/bin', ...PLACES.programs].join(':');
  const { failed } = execaSync('sh', ['-c', 'command -v node'], { env: { PATH: path }, reject: false });
  return failed ? 'node in /usr/local/bin or /usr/bin' : '';
}

/** Makes an empty tmpfs, fills it with the machine's /etc, and puts it in that's place. */
const COPY_ETC = `set -e
mount -t tmpfs -o mode=755 none /mnt
cp -a /etc/. /mnt
mount --move /mnt /etc`;

/** A line of sudoers as docs/operating.md gives it. */
export const sudoersLine = (user: string, helper: string): string => `${user} ALL=(root) NOPASSWD: ${helper}\n`;

/** A mount namespace in which /etc is a copy: users, and what sudo allows them, are a test's own. */
export class OwnEtc implements AsyncDisposable {
  private constructor(readonly namespace: MountNamespace) {}

  static async open(): Promise<OwnEtc> {
    const namespace = await MountNamespace.open();
    try {
      await namespace.run('sh', '-c', COPY_ETC);
      return new OwnEtc(namespace);
    } catch (error) {
      await namespace[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Adds a file to /etc/sudoers.d, or replaces it. @throws when visudo finds it wrong */
  async allow(text: string): Promise<void> {
    await writeFile(this.sudoers, text);
    await chmod(this.sudoers, 0o440);
    await this.namespace.run('visudo', '-cf', '/etc/sudoers');
  }

  /** Takes that file away. */
  async forbid(): Promise<void> {
    await rm(this.sudoers, { force: true });
  }

  private get sudoers(): string {
    return this.namespace.inside('/etc/sudoers.d/offshoot');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.namespace[Symbol.asyncDispose]();
  }
}
