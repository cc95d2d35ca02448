import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa, execaSync } from 'execa';

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

/**
 * Real filesystems in a mount namespace of their own. The namespace is that of a process that waits for its input to end:
 * when the test ends, however it does, the kernel takes the mounts and loop devices away. Paths lead into it by
 * /proc/PID/root.
 */
export class MountLab implements AsyncDisposable {
  private count = 0;

  private constructor(
    private readonly directory: string,
    private readonly holder: ReturnType<typeof startHolder>,
  ) {}

  static async open(): Promise<MountLab> {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-mount-lab-'));
    const holder = startHolder();
    // It speaks when it is in its namespace.
    await once(holder.stdout, 'data');
    return new MountLab(directory, holder);
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
    const filesystem = { type, path: this.inside(name), image };
    await mkdir(join(this.directory, name));
    await this.attach(filesystem, options);
    return filesystem;
  }

  /** Takes it out and in again, so that nothing of it is in memory. `between` has the image at rest. */
  async remount(filesystem: MountedFilesystem, between: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    await this.run('umount', this.outside(filesystem));
    await between();
    await this.attach(filesystem, '');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.holder.stdin.end();
    await this.holder;
    await rm(this.directory, { recursive: true });
  }

  private async attach(filesystem: MountedFilesystem, options: string): Promise<void> {
    const { type, image } = filesystem;
    const mountOptions = [image === '' ? '' : 'loop', options].filter((option) => option !== '').join(',');
    const flags = mountOptions === '' ? [] : ['-o', mountOptions];
    await this.run('mount', '-t', type, ...flags, image === '' ? type : image, this.outside(filesystem));
  }

  private async run(...command: string[]): Promise<void> {
    await execa('nsenter', ['--mount', '--target', String(this.holder.pid), ...command]);
  }

  private inside(name: string): string {
    return join('/proc', String(this.holder.pid), 'root', this.directory, name);
  }

  private outside({ path }: MountedFilesystem): string {
    return path.replace(`/proc/${String(this.holder.pid)}/root`, '');
  }
}

function startHolder() {
  return execa('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; exec cat'], {
    stdin: 'pipe',
    stdout: 'pipe',
    buffer: false,
  });
}
