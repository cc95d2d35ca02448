import { chmod, copyFile, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { validateExt4, writeExt4 } from './ext4-disk.js';
import { selectModules } from './guest-modules.js';
import { IMAGE_TIME, diskUuid } from './image-identity.js';
import { IMAGE_FILES, finishImage } from './image-record.js';
import { writeInitrd } from './initrd.js';
import { KERNEL_PARAMETERS } from './kernel-parameters.js';
import { unpackKernel } from './kernel-tree.js';
import { layOutRoot } from './root-tree.js';
import { runTool } from './tool.js';
import { extractVmlinux } from './vmlinux-from-bzimage.js';
import type { ImageInputs } from './image-inputs.js';
import type { PackageSource } from './package-source.js';

/** In order. */
export const BUILD_STEPS = [
  'Fetching the kernel package',
  'Unpacking the kernel',
  "Laying out the guest's files",
  'Writing the root disk',
  'Checking the root disk',
  'Publishing the image',
] as const;
export type BuildStep = (typeof BUILD_STEPS)[number];

/** Each of these must be a file with content; debugfs follows links to folders, not to files. */
const REQUIRED_FILES = [
  '/sbin/init',
  '/usr/bin/busybox',
  '/usr/bin/node',
  '/opt/offshoot/offshoot-guest',
  '/opt/offshoot/agent.cjs',
  '/etc/passwd',
];

export interface BuildOptions {
  readonly inputs: ImageInputs;
  readonly packages: PackageSource;
  readonly agentBundle: string;
  readonly assets: string;
  readonly name: string;
}

/** Builds the default image in `staging`, made by the caller; returns the folder in it that is the finished, synced image. */
export async function buildDefaultImage(
  { inputs, packages, agentBundle, assets, name }: BuildOptions,
  staging: string,
  onStep: (step: BuildStep) => void,
  signal: AbortSignal,
): Promise<string> {
  const image = join(staging, 'image');
  const scratch = join(staging, 'scratch');
  for (const folder of [image, scratch]) await mkdir(folder);

  onStep('Fetching the kernel package');
  const debs: string[] = [];
  for (const record of inputs.kernelPackages) debs.push(await packages.fetch(record, signal));
  const busybox = await provideBusybox(inputs, packages, join(staging, 'busybox'), signal);

  onStep('Unpacking the kernel');
  const kernel = await unpackKernel(debs, join(staging, 'kernel'), signal);
  const modules = await selectModules(kernel, join(assets, 'modules.json'), signal);

  onStep("Laying out the guest's files");
  await copyFile(kernel.vmlinuz, join(image, IMAGE_FILES.vmlinuz));
  // Ubuntu ships it as 0600.
  await chmod(join(image, IMAGE_FILES.vmlinuz), 0o644);
  await extractVmlinux(kernel.vmlinuz, join(image, IMAGE_FILES.vmlinux), join(staging, 'vmlinux'), signal);
  await writeInitrd(
    { busybox, assets: join(assets, 'initrd'), kernel, modules },
    join(staging, 'initrd'),
    join(image, IMAGE_FILES.initrd),
    signal,
  );
  const tree = join(staging, 'root');
  const { node, libraries } = inputs;
  await layOutRoot(
    { busybox, node, libraries, agentBundle, assets: join(assets, 'root'), kernel, modules },
    tree,
    signal,
  );

  onStep('Writing the root disk');
  const disk = join(image, IMAGE_FILES.rootDisk);
  await writeExt4(tree, disk, { uuid: diskUuid(inputs.id), time: IMAGE_TIME, scratch }, signal);

  onStep('Checking the root disk');
  await validateExt4(disk, REQUIRED_FILES, scratch, signal);

  onStep('Publishing the image');
  await finishImage(
    image,
    {
      id: inputs.id,
      name,
      kernelRelease: kernel.release,
      kernelParameters: KERNEL_PARAMETERS,
      inputs: { ...inputs.description },
    },
    signal,
  );
  return image;
}

export async function provideBusybox(
  { busybox }: ImageInputs,
  packages: PackageSource,
  into: string,
  signal: AbortSignal,
): Promise<string> {
  if (busybox.kind === 'installed') return busybox.path;
  await runTool('dpkg-deb', ['-x', await packages.fetch(busybox.record, signal), into], { signal });
  // `/bin` before the usr merge, `/usr/bin` after it.
  for (const path of [join(into, 'bin/busybox'), join(into, 'usr/bin/busybox')])
    if (
      await stat(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  return join(into, 'usr/bin/busybox');
}
