import { chmod, copyFile, cp, mkdir, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Unsupported } from '@offshoot/shared/errors.js';
import { installModules } from './guest-modules.js';
import { runProgram, runTool } from './tool.js';
import { walkTree } from './walk-tree.js';
import type { GuestModules } from './guest-modules.js';
import type { KernelTree } from './kernel-tree.js';

const FOLDERS = [
  'dev',
  'etc',
  'mnt',
  'opt',
  'proc',
  'root',
  'run',
  'srv',
  'sys',
  'tmp',
  'var/log',
  'var/lib',
  'var/tmp',
];
const USR_FOLDERS = ['bin', 'lib', 'lib64', 'sbin', 'local/bin', 'local/sbin', 'share'];
/** Not the image's: `init` is our own, the others are no programs to call. */
const OMITTED_APPLETS = new Set(['busybox', 'init', 'linuxrc']);
const MODES: Readonly<Record<string, number>> = { root: 0o700, tmp: 0o1777, 'var/tmp': 0o1777 };

export interface RootTreeParts {
  readonly busybox: string;
  readonly node: string;
  /** Absolute paths on this machine, the dynamic loader among them. */
  readonly libraries: readonly string[];
  /** Folder that becomes /opt/offshoot. */
  readonly agentBundle: string;
  /** `root/` of the image's assets. */
  readonly assets: string;
  readonly kernel: KernelTree;
  readonly modules: GuestModules;
}

/** Lays out the guest's root file system in `root`, made here. Owners are whoever runs this: the disk's writer sets them. */
export async function layOutRoot(parts: RootTreeParts, root: string, signal?: AbortSignal): Promise<void> {
  for (const folder of [...FOLDERS, ...USR_FOLDERS.map((name) => `usr/${name}`)])
    await mkdir(join(root, folder), { recursive: true });
  for (const name of ['bin', 'lib', 'lib64', 'sbin']) await symlink(`usr/${name}`, join(root, name));
  await symlink('../run', join(root, 'var/run'));

  await installBusybox(parts.busybox, root, signal);
  await installNode(parts, root, signal);
  await installModules(parts.kernel, parts.modules.rootFiles, root, signal);
  await cp(parts.agentBundle, join(root, 'opt/offshoot'), { recursive: true, verbatimSymlinks: true });
  await symlink('/opt/offshoot/offshoot-guest', join(root, 'usr/bin/offshoot-guest'));
  await cp(parts.assets, root, { recursive: true, verbatimSymlinks: true });
  await symlink('/proc/self/mounts', join(root, 'etc/mtab'));
  await normalise(root);
}

async function installBusybox(busybox: string, root: string, signal: AbortSignal | undefined): Promise<void> {
  await copyFile(busybox, join(root, 'usr/bin/busybox'));
  // The program itself says what it has; it is of this machine's architecture, as node is.
  const { stdout } = await runProgram(busybox, ['--list'], { signal });
  for (const applet of stdout.split('\n'))
    if (/^[a-z0-9[_-]+$/i.test(applet) && !OMITTED_APPLETS.has(applet))
      await symlink('busybox', join(root, 'usr/bin', applet));
}

/**
 * Libraries all go to the folder libc.so.6 is in, which the loader knows without a cache; the loader to its own path,
 * which is written in the program.
 */
async function installNode(
  { node, libraries }: RootTreeParts,
  root: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const target = join(root, 'usr/bin/node');
  await copyFile(node, target);
  await runTool('strip', [target], { signal }).catch((error: unknown) => {
    // Symbols are 10 MB that are never read: nice to be without, no more.
    if (!(error instanceof Unsupported)) throw error;
  });
  const libc = libraries.find((path) => basename(path) === 'libc.so.6');
  for (const library of libraries) {
    const isLoader = /^ld-.*\.so\.\d+$/.test(basename(library));
    const folder = isLoader || libc === undefined ? dirname(library) : dirname(libc);
    await mkdir(join(root, folder), { recursive: true });
    await copyFile(library, join(root, folder, basename(library)));
  }
}

/** One mode for files, one for programs and folders: whatever the builder's umask. */
async function normalise(root: string): Promise<void> {
  for await (const { name, path, stats } of walkTree(root)) {
    if (stats.isSymbolicLink()) continue;
    const isPlain = stats.isFile() && (stats.mode & 0o100) === 0;
    await chmod(path, MODES[name] ?? (isPlain ? 0o644 : 0o755));
  }
  await chmod(root, 0o755);
}
