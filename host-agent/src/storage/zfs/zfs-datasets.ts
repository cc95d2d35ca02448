import type { DatasetTree } from './dataset-tree.js';
import { tryPatiently, type Patience } from './patience.js';
import { ZfsFailed, type ZfsProgram, type ZfsRefusal } from './zfs-program.js';

/** A snapshot, and the datasets that are clones of it, whoever's. */
export interface ZfsSnapshot {
  readonly name: string;
  readonly clones: readonly string[];
}

/** What a volume takes, in bytes. */
export interface ZfsUse {
  /** Freed with it, snapshots and children included. */
  readonly used: number;
  /** Of that, by the volume itself. */
  readonly usedByDataset: number;
  /** All that can be read from it. */
  readonly referenced: number;
}

/**
 * The commands of zfs(8) the daemon has a use for, each on names that are its own. Only `destroy -r` is ever recursive, and
 * never `-R`, which takes clones along.
 */
export class ZfsDatasets {
  constructor(
    private readonly program: ZfsProgram,
    readonly tree: DatasetTree,
    private readonly patience: Patience,
  ) {}

  /** @param name a dataset, or a snapshot */
  async exists(name: string, signal?: AbortSignal): Promise<boolean> {
    const listed = this.run(['list', '-H', '-o', 'name', this.own(name)], signal);
    return (await unless('missing', listed)) !== undefined;
  }

  /** A file system that is never mounted, for others to be below it. */
  async createGroup(name: string): Promise<void> {
    await this.run(['create', '-o', 'mountpoint=none', this.own(name)]);
  }

  /** Holds zeros, and takes no room for them. */
  async createVolume(name: string, bytes: number, signal?: AbortSignal): Promise<void> {
    await this.run(['create', '-s', '-o', 'volmode=dev', '-V', String(bytes), this.own(name)], signal);
  }

  /** @param bytes a multiple of the volume's block size */
  async resizeVolume(name: string, bytes: number, signal?: AbortSignal): Promise<void> {
    await this.runOnceIdle(['set', `volsize=${String(bytes)}`, this.own(name)], signal);
  }

  async snapshot(name: string, signal?: AbortSignal): Promise<void> {
    await this.run(['snapshot', this.own(name)], signal);
  }

  /**
   * @param device whether it is to have one. It never is looked into for partitions, which a guest could write into it to have
   *   the host's kernel read them
   */
  async clone(snapshot: string, name: string, device: boolean, signal?: AbortSignal): Promise<void> {
    const mode = `volmode=${device ? 'dev' : 'none'}`;
    await this.run(['clone', '-o', mode, this.own(snapshot), this.own(name)], signal);
  }

  async promote(name: string, signal?: AbortSignal): Promise<void> {
    await this.run(['promote', this.own(name)], signal);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.run(['rename', this.own(from), this.own(to)]);
  }

  /** A volume with its snapshots, or one snapshot; missing is success. */
  async destroy(name: string): Promise<void> {
    const args = name.includes('@') ? ['destroy', this.own(name)] : ['destroy', '-r', this.own(name)];
    await unlessMissing(this.runOnceIdle(args));
  }

  /** Oldest first; none where the dataset is missing. */
  async snapshotsOf(dataset: string, signal?: AbortSignal): Promise<readonly ZfsSnapshot[]> {
    const args = ['list', '-H', '-d', '1', '-t', 'snapshot', '-s', 'createtxg', '-o', 'name,clones', this.own(dataset)];
    return rowsOf(await unlessMissing(this.run(args, signal))).map(([name = '', clones = '-']) => ({
      name,
      clones: clones === '-' || clones === '' ? [] : clones.split(','),
    }));
  }

  /** The snapshot a dataset is a clone of; undefined for none. */
  async originOf(dataset: string): Promise<string | undefined> {
    const [[origin = '-'] = []] = rowsOf(await this.run(['list', '-H', '-o', 'origin', this.own(dataset)]));
    return origin === '-' ? undefined : origin;
  }

  async volumesIn(group: string): Promise<readonly string[]> {
    const args = ['list', '-H', '-d', '1', '-t', 'volume', '-o', 'name', this.own(group)];
    return rowsOf(await this.run(args)).map(([name = '']) => name);
  }

  /** Undefined where there is none. */
  async use(dataset: string): Promise<ZfsUse | undefined> {
    const args = ['list', '-H', '-p', '-o', 'used,usedbydataset,referenced', this.own(dataset)];
    const [row] = rowsOf(await unlessMissing(this.run(args)));
    if (row === undefined) return undefined;
    const [used = 0, usedByDataset = 0, referenced = 0] = row.map(Number);
    return { used, usedByDataset, referenced };
  }

  /** Bytes that can still be written below the daemon's dataset. */
  async availableBytes(): Promise<number> {
    return Number(await this.run(['list', '-H', '-p', '-o', 'available', this.own(this.tree.groups.bases)]));
  }

  private run(args: readonly string[], signal?: AbortSignal): Promise<string> {
    return this.program.run(args, signal);
  }

  /** Whoever looks at a device that was just made or closed, as udev does, keeps its volume busy for a moment. */
  private async runOnceIdle(args: readonly string[], signal?: AbortSignal): Promise<string> {
    const done = await tryPatiently(this.patience, () => unless('busy', this.run(args, signal)), signal);
    return done ?? (await this.run(args, signal));
  }

  private own(name: string): string {
    if (this.tree.contains(name)) return name;
    throw new Error(`${JSON.stringify(name)} is not below ${this.tree.root}: the daemon has no business with it`);
  }
}

/** Undefined where ZFS refused for this. */
export async function unless(refusal: ZfsRefusal, work: Promise<string>): Promise<string | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof ZfsFailed && error.refusal === refusal) return undefined;
    throw error;
  }
}

const unlessMissing = async (work: Promise<string>): Promise<string> => (await unless('missing', work)) ?? '';

const rowsOf = (printed: string): string[][] =>
  printed
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
