import { access, mkdir, open, readdir, rename, rmdir, symlink } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { Corrupt, errnoOf } from '@offshoot/shared/errors.js';
import { runTool } from './tool.js';
import { walkTree } from './walk-tree.js';
import type { ToolName } from './tool.js';

/** An unpacked kernel with its modules, whatever the distribution's layout was. */
export interface KernelTree {
  readonly root: string;
  /** `uname -r` of it. */
  readonly release: string;
  readonly vmlinuz: string;
  /** `lib/modules/RELEASE`: plain *.ko and depmod's tables. */
  readonly modules: string;
}

/** How modules may be compressed, and what undoes it in place for many files at once. */
const COMPRESSIONS: readonly { readonly suffix: string; readonly tool: ToolName; readonly args: readonly string[] }[] =
  [
    { suffix: '.ko.xz', tool: 'xz', args: ['-d', '--'] },
    { suffix: '.ko.zst', tool: 'zstd', args: ['-d', '-q', '--rm', '--'] },
  ];

/** Far below the limit of an argument list (2 MiB) with paths of 200 bytes. */
const FILES_PER_CALL = 2000;

/**
 * Unpacks kernel packages over each other and brings them to one layout.
 * @throws Corrupt when there is not exactly one kernel with modules in them
 */
export async function unpackKernel(debs: readonly string[], into: string, signal?: AbortSignal): Promise<KernelTree> {
  await mkdir(into, { recursive: true });
  for (const deb of debs) await runTool('dpkg-deb', ['-x', deb, into], { signal });
  await mergeLibraryFolders(into);

  const releases = await readdir(join(into, 'lib/modules')).catch(emptyIfAbsent);
  const [release] = releases;
  if (release === undefined || releases.length > 1)
    throw new Corrupt(`the kernel packages must have the modules of one kernel, they have: ${releases.join(', ')}`, {
      reason: 'KERNEL_PACKAGE_LAYOUT',
      metadata: { releases: releases.join(',') },
    });

  const modules = join(into, 'lib/modules', release);
  const vmlinuz = await findVmlinuz(into, release);
  await decompressModules(modules, signal);
  // Packages leave this to the installation, and the tables of compressed modules would name the compressed files.
  await runTool('depmod', ['-b', into, release], { signal });
  return { root: into, release, vmlinuz, modules };
}

/** `/lib` or, since the usr merge (Debian 13, Ubuntu 24.10), `/usr/lib`: kmod looks into either, by how it was built. */
async function mergeLibraryFolders(root: string): Promise<void> {
  await mkdir(join(root, 'lib'), { recursive: true });
  for (const name of await readdir(join(root, 'usr/lib')).catch(emptyIfAbsent))
    await rename(join(root, 'usr/lib', name), join(root, 'lib', name));
  await rmdir(join(root, 'usr/lib')).catch(emptyIfAbsent);
  await mkdir(join(root, 'usr'), { recursive: true });
  await symlink('../lib', join(root, 'usr/lib'));
}

async function findVmlinuz(root: string, release: string): Promise<string> {
  for (const path of [join(root, 'boot', `vmlinuz-${release}`), join(root, 'lib/modules', release, 'vmlinuz')]) {
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (!found) continue;
    await assertBzImage(path);
    return path;
  }
  throw new Corrupt(`the kernel packages have no vmlinuz for ${release}`, {
    reason: 'KERNEL_PACKAGE_LAYOUT',
    metadata: { release },
  });
}

/** "HdrS" at 0x202 is the magic of the x86 boot protocol (Documentation/x86/boot.rst). */
async function assertBzImage(path: string): Promise<void> {
  await using file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0x202);
  if (buffer.toString('latin1') !== 'HdrS')
    throw new Corrupt(`${path} is no x86 kernel (bzImage)`, { reason: 'KERNEL_FORMAT', metadata: { path } });
}

async function decompressModules(folder: string, signal: AbortSignal | undefined): Promise<void> {
  const names: string[] = [];
  for await (const { name, stats } of walkTree(folder)) if (stats.isFile()) names.push(name);
  for (const { suffix, tool, args } of COMPRESSIONS) {
    const compressed = names.filter((name) => name.endsWith(suffix));
    for (let from = 0; from < compressed.length; from += FILES_PER_CALL)
      await runTool(tool, [...args, ...compressed.slice(from, from + FILES_PER_CALL)], { cwd: folder, signal });
  }
}

const emptyIfAbsent = (error: unknown): string[] => {
  if (errnoOf(error) === 'ENOENT') return [];
  throw error;
};

/** Files a module needs, itself last, relative to the kernel tree's module folder; none when it is built in. */
export async function moduleFiles(
  kernel: KernelTree,
  module: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  // -C: this machine's own blacklists and install commands say nothing about the guest.
  const { stdout } = await runTool(
    'modprobe',
    ['-C', '/dev/null', '-d', kernel.root, '-S', kernel.release, '--show-depends', module],
    { signal },
  );
  return parseShowDepends(stdout).map((path) => relative(kernel.modules, path));
}

/** Lines are `insmod PATH [PARAMETER...]` or `builtin NAME`. */
export const parseShowDepends = (output: string): string[] =>
  output
    .split('\n')
    .map((line) => /^insmod (\S+)/.exec(line)?.[1])
    .filter((path) => path !== undefined);
