import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa, execaSync } from 'execa';

/** What of the machine pools take; empty where nothing is missing. */
export function missingForPools(): string {
  if (process.getuid?.() !== 0) return 'root';
  for (const program of ['zpool', 'zfs'])
    if (execaSync(program, ['version'], { reject: false }).failed) return `${program}, or ZFS in the kernel`;
  return '';
}

/** A pool in a file, with a dataset in it for a daemon. */
export class TestPool implements AsyncDisposable {
  readonly name = `offshoot-test-${randomBytes(4).toString('hex')}`;
  readonly dataset = `${this.name}/offshoot`;

  private constructor(private readonly folder: string) {}

  /** @param properties of its file systems, such as `compression=off` */
  static async open(bytes: number, properties: readonly string[] = []): Promise<TestPool> {
    const pool = new TestPool(await mkdtemp(join(tmpdir(), 'offshoot-pool-')));
    const file = join(pool.folder, 'pool');
    try {
      await writeFile(file, '');
      await truncate(file, bytes);
      const options = properties.flatMap((property) => ['-O', property]);
      await execa('zpool', ['create', '-m', 'none', ...options, '-R', pool.folder, pool.name, file]);
      await execa('zfs', ['create', '-o', 'mountpoint=none', pool.dataset]);
      return pool;
    } catch (error) {
      await pool[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Datasets and snapshots below the daemon's, by name: those of instances and snapshots, bases left out. */
  async disks(): Promise<string[]> {
    const { stdout } = await execa('zfs', ['list', '-H', '-r', '-t', 'all', '-o', 'name', this.dataset]);
    return beyondBases(stdout.split('\n'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await execa('zpool', ['destroy', '-f', this.name], { reject: false });
    await rm(this.folder, { recursive: true });
  }
}

/** Bases stay for the next disk of their image. */
export const beyondBases = (names: readonly string[]): string[] =>
  names.filter((name) => /\/(instances|snapshots)\//.test(name));
