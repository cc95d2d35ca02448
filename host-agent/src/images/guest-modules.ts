import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { Corrupt } from '@offshoot/shared/errors.js';
import { moduleFiles } from './kernel-tree.js';
import { ToolFailure, runTool } from './tool.js';
import type { KernelTree } from './kernel-tree.js';

const names = z.array(z.string().regex(/^[a-z0-9_]+$/));
const manifest = z.strictObject({
  /** Loaded first, by the initrd. */
  rootDisk: names,
  /** Loaded by the initrd too: one process for all is quicker than two. */
  devices: names,
  /** On the root disk for modprobe, where the kernel has them. */
  onDemand: names,
});

/** Module files of a guest, relative to `lib/modules/RELEASE`. */
export interface GuestModules {
  /** Names to load at boot, in order; those built into the kernel left out. */
  readonly load: readonly string[];
  readonly initrdFiles: readonly string[];
  readonly rootFiles: readonly string[];
}

/**
 * Which of the kernel's modules the guest has.
 * @param manifestFile `modules.json` of the image
 * @throws Corrupt when the kernel lacks one that is loaded at boot
 */
export async function selectModules(
  kernel: KernelTree,
  manifestFile: string,
  signal?: AbortSignal,
): Promise<GuestModules> {
  const { rootDisk, devices, onDemand } = manifest.parse(JSON.parse(await readFile(manifestFile, 'utf8')));
  const load: string[] = [];
  const initrdFiles = new Set<string>();
  const rootFiles = new Set<string>();
  for (const module of [...rootDisk, ...devices]) {
    const files = await findModule(kernel, module, signal);
    if (files === undefined)
      throw new Corrupt(`the kernel ${kernel.release} has no ${module}, which the guest needs to boot`, {
        reason: 'KERNEL_MODULE_MISSING',
        metadata: { module, release: kernel.release },
      });
    if (files.length > 0) load.push(module);
    for (const file of files) {
      initrdFiles.add(file);
      rootFiles.add(file);
    }
  }
  for (const module of onDemand)
    for (const file of (await findModule(kernel, module, signal)) ?? []) rootFiles.add(file);
  return { load, initrdFiles: [...initrdFiles], rootFiles: [...rootFiles] };
}

async function findModule(
  kernel: KernelTree,
  module: string,
  signal: AbortSignal | undefined,
): Promise<readonly string[] | undefined> {
  try {
    return await moduleFiles(kernel, module, signal);
  } catch (error) {
    if (error instanceof ToolFailure && error.stderr.includes('not found')) return undefined;
    throw error;
  }
}

/** Lays out `lib/modules/RELEASE` below `root` with these files and the tables that belong to them. */
export async function installModules(
  kernel: KernelTree,
  files: readonly string[],
  root: string,
  signal?: AbortSignal,
): Promise<void> {
  const target = join(root, 'lib/modules', kernel.release);
  await mkdir(target, { recursive: true });
  for (const file of [...files, 'modules.order', 'modules.builtin', 'modules.builtin.modinfo']) {
    await mkdir(dirname(join(target, file)), { recursive: true });
    await copyFile(join(kernel.modules, file), join(target, file));
  }
  await runTool('depmod', ['-b', root, kernel.release], { signal });
}
