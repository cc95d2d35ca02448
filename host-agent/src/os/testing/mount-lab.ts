import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa, execaSync } from 'execa';
import { MountNamespace } from './mount-namespace.js';

/** How to make each filesystem in a file; those without live in memory. XFS and btrfs want at least 300 and 109 MiB. */
const MAKE = {
  ext4: ['mkfs.ext4', '-q', '-F'],
  xfs: ['mkfs.xfs', '-q', '-f'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
  tmpfs: [],
  ramfs: [],
} as const satisfies Record<string, readonly string[]>;

export type LabFilesystem = keyof typeof MAKE;

const IMAGE_BYTES = 320 * 2 ** 20;

/** What is missing for tests on this filesystem; empty when nothing is. */
export function missingFor(type: LabFilesystem): string {
  if (process.getuid?.() !== 0) return 'root';
  if (execaSync('unshare', ['--mount', 'true'], { reject: false }).failed) return 'right to make namespaces';
  const known = /\t(\w+)$/gm;
  const inKernel = [...readFileSync('/proc/filesystems', 'latin1').matchAll(known)].some(([, name]) => name === type);
  if (!inKernel && execaSync('modprobe', ['-q', '-n', type], { reject: false }).failed) return `${type} in the kernel`;
  const [program] = MAKE[type];
  if (program === undefined) return '';
  if (execaSync(program, ['-V'], { reject: false }).failed) return program;
  return execaSync('losetup', ['--find'], { reject: false }).failed ? 'a loop device' : '';
}

export interface MountedFilesystem {
  readonly type: LabFilesystem;
  /** Where its root is, for this process. */
  readonly path: string;
  /** The file it lives in; empty when it lives in memory. */
  readonly image: string;
}

/** Real filesystems in a mount namespace of their own, into which their paths lead. */
export class MountLab implements AsyncDisposable {
  private count = 0;

  private constructor(
    private readonly directory: string,
    private readonly namespace: MountNamespace,
  ) {}

  static async open(): Promise<MountLab> {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-mount-lab-'));
    return new MountLab(directory, await MountNamespace.open());
  }

  /** @param options of mount(8); `size=1m` for a small tmpfs @param bytes what one in a file has room for */
  async mount(type: LabFilesystem, options = '', bytes = IMAGE_BYTES): Promise<MountedFilesystem> {
    const [program, ...rest] = MAKE[type];
    const name = `${type}-${String(++this.count)}`;
    const image = program === undefined ? '' : join(this.directory, `${name}.img`);
    if (program !== undefined) {
      await writeFile(image, '');
      await truncate(image, bytes);
      await execa(program, [...rest, image]);
    }
    const filesystem = { type, path: this.namespace.inside(join(this.directory, name)), image };
    await mkdir(join(this.directory, name));
    await this.attach(filesystem, options);
    return filesystem;
  }

  /** Takes it out and in again, so that nothing of it is in memory. `between` has the image at rest. */
  async remount(filesystem: MountedFilesystem, between: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    await this.namespace.run('umount', this.outside(filesystem));
    await between();
    await this.attach(filesystem, '');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.namespace[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true });
  }

  private async attach(filesystem: MountedFilesystem, options: string): Promise<void> {
    const { type, image } = filesystem;
    const mountOptions = [image === '' ? '' : 'loop', options].filter((option) => option !== '').join(',');
    const flags = mountOptions === '' ? [] : ['-o', mountOptions];
    await this.namespace.run('mount', '-t', type, ...flags, image === '' ? type : image, this.outside(filesystem));
  }

  private outside({ path }: MountedFilesystem): string {
    return path.slice(this.namespace.inside('').length);
  }
}
