import { cp, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AptPackageSource } from './apt-package-source.js';
import { hashFile } from './content-digests.js';
import { DISTRIBUTIONS } from './distribution.js';
import { selectModules } from './guest-modules.js';
import { findKernelPackages } from './kernel-packages.js';
import { unpackKernel } from './kernel-tree.js';
import { dependencyNames } from './package-source.js';
import { runTool } from './tool.js';
import { extractVmlinux } from './vmlinux-from-bzimage.js';
import { walkTree } from './walk-tree.js';
import type { Distribution } from './distribution.js';
import type { PackageRecord, PackageSource } from './package-source.js';

const MANIFEST = fileURLToPath(new URL('../../../images/default/modules.json', import.meta.url));
const TIMEOUT = 120_000;
/** Folders of modules the guest's may be in; the others only make the tests slow. */
const KEPT =
  /^kernel\/(drivers\/(virtio|block|net\/virtio|char)|net\/(core|vmw_vsock)|fs\/(overlayfs|fuse)|lib|crypto)/;

/** An archive that is a folder of .deb files. */
class FolderPackageSource implements PackageSource {
  constructor(private readonly folder: string) {}

  architecture(): Promise<string> {
    return Promise.resolve('amd64');
  }

  async find(name: string): Promise<PackageRecord | undefined> {
    const path = this.path(name);
    if (!(await readdir(this.folder)).includes(`${name}.deb`)) return undefined;
    const field = async (key: string): Promise<string> => (await runTool('dpkg-deb', ['-f', path, key])).stdout.trim();
    return {
      name,
      version: await field('Version'),
      architecture: await field('Architecture'),
      sha256: await hashFile(path),
      dependencies: dependencyNames(await field('Depends')),
    };
  }

  fetch(record: PackageRecord): Promise<string> {
    return Promise.resolve(this.path(record.name));
  }

  private path(name: string): string {
    return join(this.folder, `${name}.deb`);
  }
}

async function pack(tree: string, folder: string, name: string, depends: string): Promise<void> {
  await mkdir(join(tree, 'DEBIAN'), { recursive: true, mode: 0o755 });
  const control = `Package: ${name}\nVersion: 1\nArchitecture: amd64\nMaintainer: Offshoot <none@example.invalid>\nDescription: test\n`;
  await writeFile(join(tree, 'DEBIAN/control'), `${control}${depends === '' ? '' : `Depends: ${depends}\n`}`);
  await runTool('dpkg-deb', ['-Znone', '-b', tree, join(folder, `${name}.deb`)]);
}

const probe = await mkdtemp(join(tmpdir(), 'offshoot-probe-'));
const apt = new AptPackageSource(probe);
const hasLists = (await apt.find('linux-image-cloud-amd64').catch(() => undefined)) !== undefined;

describe.skipIf(!hasLists)(
  `an unpacked kernel${hasLists ? '' : ' (skipped: no apt lists with linux-image-cloud-amd64)'}`,
  () => {
    let folder: string;
    let release: string;
    /** Modules as they are in Debian 12: plain, in /lib. */
    let plain: string;
    let vmlinuz: string;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'offshoot-kernel-'));
      const debs: string[] = [];
      for (const record of await findKernelPackages(apt, DISTRIBUTIONS.debian!)) debs.push(await apt.fetch(record));
      const kernel = await unpackKernel(debs, join(folder, 'debian'));
      release = kernel.release;
      plain = join(folder, 'plain');
      vmlinuz = kernel.vmlinuz;
      for await (const { name, path, stats } of walkTree(kernel.modules)) {
        const isPackaged = KEPT.test(name) || /^modules\.(order|builtin)/.test(name);
        if (!stats.isFile() || !isPackaged) continue;
        await mkdir(dirname(join(plain, name)), { recursive: true });
        await cp(path, join(plain, name));
      }
    }, TIMEOUT);
    afterAll(async () => {
      for (const path of [folder, probe]) await rm(path, { recursive: true, force: true });
    });

    /** Repacks the kernel the way another distribution ships it and unpacks that by the code for all. */
    async function repack(
      name: string,
      distribution: Distribution,
      layout: {
        /** Module folder, below which is the release. */
        modules: string;
        compress: { tool: 'xz' | 'zstd'; args: readonly string[] };
        packages: readonly { name: string; depends: string; content: 'kernel' | 'modules' | 'both' | 'none' }[];
      },
    ) {
      const archive = join(folder, name);
      for (const part of layout.packages) {
        const tree = join(archive, `${part.name}.tree`);
        await mkdir(tree, { recursive: true });
        if (part.content === 'kernel' || part.content === 'both') {
          await mkdir(join(tree, 'boot'));
          await cp(vmlinuz, join(tree, 'boot', `vmlinuz-${release}`));
        }
        if (part.content === 'modules' || part.content === 'both') {
          const target = join(tree, layout.modules, release);
          await cp(plain, target, { recursive: true });
          const files: string[] = [];
          for await (const entry of walkTree(target)) if (entry.name.endsWith('.ko')) files.push(entry.path);
          await runTool(layout.compress.tool, [...layout.compress.args, ...files]);
        }
        await pack(tree, archive, part.name, part.depends);
      }
      const source = new FolderPackageSource(archive);
      const debs: string[] = [];
      for (const record of await findKernelPackages(source, distribution)) debs.push(await source.fetch(record));
      return unpackKernel(debs, join(archive, 'unpacked'));
    }

    async function expectUsable(kernel: Awaited<ReturnType<typeof repack>>): Promise<void> {
      expect(kernel.release).toBe(release);
      expect((await stat(kernel.vmlinuz)).size).toBe((await stat(vmlinuz)).size);
      const modules = await selectModules(kernel, MANIFEST);
      // Debian builds ext4 into the kernel and virtio as modules; built in ones are not loaded.
      expect(modules.load).toContain('virtio_net');
      expect(modules.load).not.toContain('ext4');
      expect(modules.initrdFiles.every((file) => file.endsWith('.ko'))).toBe(true);
      for (const file of modules.rootFiles)
        expect((await readFile(join(kernel.modules, file))).equals(await readFile(join(plain, file)))).toBe(true);
    }

    it(
      'is the same out of Ubuntu’s two packages: vmlinuz in one, *.ko.zst in the other',
      async () => {
        const kernel = await repack('ubuntu', DISTRIBUTIONS.ubuntu!, {
          modules: 'lib/modules',
          compress: { tool: 'zstd', args: ['-q', '-1', '--rm', '--'] },
          packages: [
            { name: 'linux-image-virtual', depends: 'linux-image-6.1.0-56-generic', content: 'none' },
            { name: 'linux-image-6.1.0-56-generic', depends: 'linux-modules-6.1.0-56-generic', content: 'kernel' },
            { name: 'linux-modules-6.1.0-56-generic', depends: '', content: 'modules' },
          ],
        });
        await expectUsable(kernel);
      },
      TIMEOUT,
    );

    it(
      'is the same out of the package of Debian 13: *.ko.xz below /usr/lib',
      async () => {
        const kernel = await repack('debian13', DISTRIBUTIONS.debian!, {
          modules: 'usr/lib/modules',
          compress: { tool: 'xz', args: ['-0', '--check=crc32', '--'] },
          packages: [
            { name: 'linux-image-cloud-amd64', depends: 'linux-image-6.1.0-56-cloud-amd64', content: 'none' },
            { name: 'linux-image-6.1.0-56-cloud-amd64', depends: '', content: 'both' },
          ],
        });
        await expectUsable(kernel);
      },
      TIMEOUT,
    );

    it(
      'has an uncompressed kernel in it, with the release it is of',
      async () => {
        const target = join(folder, 'vmlinux');
        await extractVmlinux(vmlinuz, target, join(folder, 'scratch'));
        expect((await readFile(target)).includes(`Linux version ${release} `)).toBe(true);
      },
      TIMEOUT,
    );

    it(
      'is refused without a vmlinuz, without modules, and when the vmlinuz is no kernel',
      async () => {
        const tree = join(folder, 'bad.tree');
        await mkdir(join(tree, 'boot'), { recursive: true });
        await writeFile(join(tree, 'boot', `vmlinuz-${release}`), Buffer.alloc(1024));
        await pack(tree, folder, 'no-modules', '');
        const unpack = (name: string) => unpackKernel([join(folder, `${name}.deb`)], join(folder, `${name}.unpacked`));
        await expect(unpack('no-modules')).rejects.toMatchObject({ reason: 'KERNEL_PACKAGE_LAYOUT' });
        await cp(plain, join(tree, 'lib/modules', release), { recursive: true });
        await pack(tree, folder, 'no-kernel', '');
        await expect(unpack('no-kernel')).rejects.toMatchObject({ reason: 'KERNEL_FORMAT' });
        await rename(join(tree, 'boot'), join(tree, 'etc'));
        await pack(tree, folder, 'no-vmlinuz', '');
        await expect(unpack('no-vmlinuz')).rejects.toMatchObject({ reason: 'KERNEL_PACKAGE_LAYOUT' });
      },
      TIMEOUT,
    );
  },
);
