import { readFileSync } from 'node:fs';
import { chmod, rm, writeFile } from 'node:fs/promises';
import { execaSync } from 'execa';
import type { MountNamespace } from '../../os/testing/mount-namespace.js';

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
  const launcher = readFileSync(new URL('../../../../bin/offshoot-privileged', import.meta.url), 'utf8');
  const [, path = ''] = /^PATH=(.*)$/m.exec(launcher) ?? [];
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

/** Makes /etc a copy in a mount namespace: users, and what sudo allows them, are a test's own there. */
export async function copyEtc(namespace: MountNamespace): Promise<void> {
  await namespace.run('sh', '-c', COPY_ETC);
}

const sudoersOf = (namespace: MountNamespace): string => namespace.inside('/etc/sudoers.d/offshoot');

/** Adds a file to /etc/sudoers.d, or replaces it. @throws when visudo finds it wrong */
export async function allowBySudo(namespace: MountNamespace, text: string): Promise<void> {
  await writeFile(sudoersOf(namespace), text);
  await chmod(sudoersOf(namespace), 0o440);
  await namespace.run('visudo', '-cf', '/etc/sudoers');
}

/** Takes that file away. */
export async function forbidBySudo(namespace: MountNamespace): Promise<void> {
  await rm(sudoersOf(namespace), { force: true });
}
