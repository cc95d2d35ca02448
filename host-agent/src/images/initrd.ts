import { mkdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { installModules } from './guest-modules.js';
import { newcArchive } from './newc-archive.js';
import { walkTree } from './walk-tree.js';
import type { GuestModules } from './guest-modules.js';
import type { KernelTree } from './kernel-tree.js';
import type { ArchiveEntry } from './newc-archive.js';

/** Busybox programs images/default/initrd/init uses. Links, because before /proc is there busybox cannot run itself by name. */
const APPLETS = ['[', 'cat', 'mkdir', 'modprobe', 'mount', 'sh', 'sleep', 'switch_root'];
const FOLDERS = ['bin', 'dev', 'etc', 'proc', 'root', 'sys'];

export interface InitrdParts {
  readonly busybox: string;
  /** `initrd/` of the image's assets: `init`, `fstab`. */
  readonly assets: string;
  readonly kernel: KernelTree;
  readonly modules: GuestModules;
}

/**
 * Writes the initial RAM file system: busybox, the drivers needed at boot, the image's init.
 * Uncompressed: at 3 MB unpacking costs an emulated processor more than the host's copying.
 * @param scratch folder to lay it out in, made here
 */
export async function writeInitrd(
  { busybox, assets, kernel, modules }: InitrdParts,
  scratch: string,
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  for (const folder of FOLDERS) await mkdir(join(scratch, folder), { recursive: true });
  await installModules(kernel, modules.initrdFiles, scratch, signal);
  await writeFile(join(scratch, 'bin/busybox'), await readFile(busybox), { mode: 0o755 });
  for (const applet of APPLETS) await symlink('busybox', join(scratch, 'bin', applet));
  await writeFile(join(scratch, 'init'), await readFile(join(assets, 'init')), { mode: 0o755 });
  await writeFile(join(scratch, 'etc/fstab'), await readFile(join(assets, 'fstab')));
  await writeFile(join(scratch, 'etc/modules'), `${modules.load.join(' ')}\n`);

  const entries: ArchiveEntry[] = [];
  for await (const { name, path, stats } of walkTree(scratch)) {
    if (isUnusedTable(name)) continue;
    if (stats.isSymbolicLink()) entries.push({ kind: 'link', path: name, target: await readlink(path) });
    else if (stats.isDirectory()) entries.push({ kind: 'directory', path: name, mode: 0o755 });
    else
      entries.push({
        kind: 'file',
        path: name,
        mode: (stats.mode & 0o100) === 0 ? 0o644 : 0o755,
        content: await readFile(path),
      });
  }
  await writeFile(target, newcArchive(entries));
}

/** Of depmod's tables busybox reads modules.dep alone for modules asked for by name; the others are up to 200 KB. */
const isUnusedTable = (name: string): boolean => /\/modules\.(?!dep$)[^/]*$/.test(name);
