import { chmod, copyFile, cp, mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidState } from '@offshoot/shared/errors.js';
import { AptPackageSource } from '@offshoot/host-agent/images/apt-package-source.js';
import { detectDistribution } from '@offshoot/host-agent/images/distribution.js';
import { selectModules } from '@offshoot/host-agent/images/guest-modules.js';
import { writeInitrd } from '@offshoot/host-agent/images/initrd.js';
import { findKernelPackages, lookUp } from '@offshoot/host-agent/images/kernel-packages.js';
import { unpackKernel, type KernelTree } from '@offshoot/host-agent/images/kernel-tree.js';
import { runProgram, runTool } from '@offshoot/host-agent/images/tool.js';
import { ext4FromTree } from './ext4-from-tree.js';
import { keptFolder } from './kept-folder.js';
import { COMPONENTS, REPOSITORY, REPOSITORY_INSIDE, SUITE, SYSTEM_INPUTS } from './lab-definition.js';
import { buildZfs } from './zfs-module.js';

const GIB = 1024 ** 3;
const OURS = join(REPOSITORY, 'test/lab/guest');
/** Of those, what becomes part of the system. */
const ASSETS = ['fstab', 'modules.json', 'start'];

/** What the lab host boots: paths. */
export interface LabSystem {
  readonly vmlinuz: string;
  readonly initrd: string;
  readonly disk: string;
}

/**
 * Debian from its packages, with the kernel this machine's apt has for virtual machines: kept, and made anew when the list of
 * packages, the layout or the kernel's version is another.
 */
export async function labSystem(
  cache: string,
  onStep: (step: string) => void,
  signal: AbortSignal,
): Promise<LabSystem> {
  const packages = new AptPackageSource(cache);
  const kernelPackages = await findKernelPackages(packages, await detectDistribution(), signal);
  const kernels = kernelPackages.map(({ name, version }) => `${name} ${version}`);
  const assets = await Promise.all(ASSETS.map((name) => readFile(join(OURS, name), 'utf8')));
  const folder = await keptFolder(cache, 'system', { ...SYSTEM_INPUTS, kernels, assets }, async (making) => {
    onStep(`unpacking ${kernels.join(', ')}`);
    const debs: string[] = [];
    for (const record of kernelPackages) debs.push(await packages.fetch(record, signal));
    const scratch = join(making, 'scratch');
    const kernel = await unpackKernel(debs, join(scratch, 'kernel'), signal);
    await copyFile(kernel.vmlinuz, join(making, 'vmlinuz'));
    await makeInitrd(kernel, await staticBusybox(packages, scratch, signal), scratch, join(making, 'initrd'), signal);

    const root = join(scratch, 'root');
    const archive = await debianArchive(signal);
    onStep(`installing Debian ${SUITE} (some minutes, once)`);
    const include = `--include=${SYSTEM_INPUTS.packages.join(',')}`;
    const components = `--components=${COMPONENTS.join(',')}`;
    const env = { DEBIAN_FRONTEND: 'noninteractive' };
    await runProgram('debootstrap', ['--variant=minbase', components, include, SUITE, root, archive], { signal, env });
    await furnish(root, kernel);
    onStep('building ZFS for its kernel (some minutes, once)');
    await buildZfs(root, kernel.release, packages, signal);
    await tidy(root);
    onStep('writing its disk');
    await ext4FromTree(root, join(making, 'system.ext4'), 4 * GIB, signal);
    await rm(scratch, { recursive: true });
  });
  return {
    vmlinuz: join(folder, 'vmlinuz'),
    initrd: join(folder, 'initrd'),
    disk: join(folder, 'system.ext4'),
  };
}

/** The default image's first program, with other modules and mounts. */
async function makeInitrd(
  kernel: KernelTree,
  busybox: string,
  scratch: string,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const assets = join(scratch, 'initrd-assets');
  await mkdir(assets);
  await copyFile(join(REPOSITORY, 'images/default/initrd/init'), join(assets, 'init'));
  await copyFile(join(OURS, 'fstab'), join(assets, 'fstab'));
  const modules = await selectModules(kernel, join(OURS, 'modules.json'), signal);
  await writeInitrd({ busybox, assets, kernel, modules }, join(scratch, 'initrd'), target, signal);
}

async function staticBusybox(packages: AptPackageSource, scratch: string, signal: AbortSignal): Promise<string> {
  const deb = await packages.fetch(await lookUp(packages, 'busybox-static', signal), signal);
  const into = join(scratch, 'busybox');
  await runTool('dpkg-deb', ['-x', deb, into], { signal });
  // `/bin` before the usr merge, `/usr/bin` after it.
  const { stdout } = await runProgram('find', [into, '-name', 'busybox', '-type', 'f', '-perm', '-100'], { signal });
  return stdout.split('\n')[0] ?? '';
}

/** Modules, and the place where the run's own disks come. */
async function furnish(root: string, kernel: KernelTree): Promise<void> {
  const modules = join(root, 'lib/modules');
  await mkdir(modules, { recursive: true });
  await cp(kernel.modules, join(modules, kernel.release), { recursive: true });
  await mkdir(join(root, REPOSITORY_INSIDE), { recursive: true });
  await copyFile(join(OURS, 'start'), join(root, 'usr/sbin/init'));
  await chmod(join(root, 'usr/sbin/init'), 0o755);
}

async function tidy(root: string): Promise<void> {
  await rm(join(root, 'var/cache/apt'), { recursive: true, force: true });
  await rm(join(root, 'var/lib/apt/lists'), { recursive: true, force: true });
}

/** Where this machine's apt has Debian from. */
async function debianArchive(signal: AbortSignal): Promise<string> {
  const format = '$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)';
  const { stdout } = await runTool('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], { signal });
  const archive = stdout
    .split('\n')
    .map((line) => /^Debian Debian main (\S+)$/.exec(line)?.[1])
    .find((uri) => uri !== undefined);
  if (archive !== undefined) return archive;
  throw new InvalidState('the lists of apt know no archive of Debian (its distribution, not security or updates)', {
    reason: 'PACKAGE_LISTS_MISSING',
  });
}
