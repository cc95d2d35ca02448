import { open, type FileHandle } from 'node:fs/promises';
import { Corrupt } from '@offshoot/shared/errors.js';
import { readPadded } from './changed-clusters.js';
import { CLUSTER_BITS, CLUSTER_BYTES, HEADER_BYTES, MAGIC } from './qcow2-header.js';

/** In an entry of a level 2 table. A cluster that reads as zeros may have data all the same, which then does not count. */
const ZERO_BIT = 1;
const COMPRESSED_BIT = 0x4000_0000; // of the upper half
const OFFSET_MASKS = [0x00ff_ffff, 0xffff_fe00] as const; // upper and lower half

/** QEMU's own limit, QCOW_MAX_L1_SIZE of 32 MiB: tables for 2 PiB. */
const MOST_LEVEL1_ENTRIES = 2 ** 22;

/** What one cluster is in one file. */
export type ClusterState = { readonly offset: number } | 'zeros' | 'below';

/**
 * Which clusters a qcow2 file holds itself, as opposed to what it stands on. Only the kind of file that overlays are: what a
 * newer format has more, compression, encryption or subclusters, is refused.
 */
export class Qcow2Clusters implements AsyncDisposable {
  private constructor(
    readonly file: FileHandle,
    private readonly path: string,
    /** Size the guest sees. */
    readonly virtualBytes: number,
    private readonly level1: Buffer,
  ) {}

  /** @throws Corrupt when it is no such file */
  static async open(path: string): Promise<Qcow2Clusters> {
    const file = await open(path, 'r');
    try {
      const header = Buffer.alloc(HEADER_BYTES);
      await readPadded(file, header, 0);
      const encryption = header.readUInt32BE(32);
      const incompatibleFeatures = header.readBigUInt64BE(72);
      const isPlain = header.readUInt32BE(4) === 3 && header.readUInt32BE(20) === CLUSTER_BITS && encryption === 0;
      if (header.readUInt32BE(0) !== MAGIC || !isPlain || incompatibleFeatures !== 0n) throw malformed(path);
      const entries = header.readUInt32BE(36);
      if (entries > MOST_LEVEL1_ENTRIES) throw malformed(path);
      const level1 = Buffer.alloc(8 * entries);
      await readPadded(file, level1, Number(header.readBigUInt64BE(40)));
      return new Qcow2Clusters(file, path, Number(header.readBigUInt64BE(24)), level1);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** How many level 2 tables cover the disk, each {@link CLUSTERS_PER_TABLE} clusters of it. */
  get tables(): number {
    return Math.floor(this.level1.length / 8);
  }

  /** One of them; undefined where the file holds nothing of what it covers. */
  async table(n: number): Promise<ClusterTable | undefined> {
    if (n >= this.tables) return undefined;
    const offset = offsetIn(this.level1, n);
    if (offset === 0) return undefined;
    const entries = Buffer.alloc(CLUSTER_BYTES);
    await readPadded(this.file, entries, offset);
    return new ClusterTable(entries, this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
  }
}

export const CLUSTERS_PER_TABLE = CLUSTER_BYTES / 8;

export class ClusterTable {
  constructor(
    private readonly entries: Buffer,
    private readonly path: string,
  ) {}

  /** @param n counted from the table's first cluster */
  state(n: number): ClusterState {
    if ((this.entries.readUInt32BE(8 * n) & COMPRESSED_BIT) !== 0) throw malformed(this.path);
    if ((this.entries.readUInt32BE(8 * n + 4) & ZERO_BIT) !== 0) return 'zeros';
    const offset = offsetIn(this.entries, n);
    return offset === 0 ? 'below' : { offset };
  }
}

function offsetIn(entries: Buffer, n: number): number {
  const [upper, lower] = OFFSET_MASKS;
  return (entries.readUInt32BE(8 * n) & upper) * 2 ** 32 + ((entries.readUInt32BE(8 * n + 4) & lower) >>> 0);
}

const malformed = (path: string): Corrupt =>
  new Corrupt(`${path} is no plain qcow2 disk`, { reason: 'DISK_MALFORMED', metadata: { path } });
