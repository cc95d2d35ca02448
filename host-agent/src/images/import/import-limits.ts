import { Capacity } from '@offshoot/shared/errors.js';
import { freeBytes } from '../../os/disk-space.js';
import { refused } from './image-refused.js';

/** What a source may be at most: a few kilobytes can unpack to more than any disk has (zip bombs). */
export interface ImportLimits {
  /** Bytes of all layers unpacked, whatever of them is in the image in the end. */
  readonly unpackedBytes: number;
  /** Entries of all layers. */
  readonly entries: number;
  /** Bytes of names, links and extended attributes of all layers: they are in the daemon's memory. */
  readonly namesBytes: number;
}

export const IMPORT_LIMITS: ImportLimits = {
  // The largest public images (CUDA with PyTorch, Android build environments) unpack to some 30 GB.
  unpackedBytes: 64 * 2 ** 30,
  // Such images have up to 400,000; 150,000 took 0.8 GB of the daemon's memory while the disk was written.
  entries: 500_000,
  namesBytes: 256 * 2 ** 20,
};

/** What an import leaves free of the host's disk, in bytes: running VMs write to it, and fail when it is full. */
const KEPT_FREE = 2 ** 30;

/** Counts what an import takes, and stops it. */
export class ImportBudget {
  private unpacked = 0;
  private entries = 0;
  private names = 0;

  private constructor(
    private readonly limits: ImportLimits,
    /** Bytes of content that fit twice, laid out and in the disk made of it. */
    private readonly roomBytes: number,
    private readonly directory: string,
  ) {}

  /** @param directory the import works in, whose free space is looked at now */
  static async open(limits: ImportLimits, directory: string): Promise<ImportBudget> {
    return new ImportBudget(limits, Math.max(0, (await freeBytes(directory)) - KEPT_FREE) / 2, directory);
  }

  /** Bytes of a stream that is being unpacked. @throws InvalidInput IMAGE_TOO_LARGE */
  takeUnpacked(bytes: number): void {
    this.unpacked += bytes;
    if (this.unpacked > this.limits.unpackedBytes)
      throw tooLarge('unpacks to more than', this.limits.unpackedBytes, 'bytes');
  }

  /** An entry and the bytes of its names. @throws InvalidInput IMAGE_TOO_LARGE */
  takeEntry(namesBytes: number): void {
    this.entries += 1;
    this.names += namesBytes;
    if (this.entries > this.limits.entries) throw tooLarge('has more than', this.limits.entries, 'entries');
    if (this.names > this.limits.namesBytes) throw tooLarge('has names of more than', this.limits.namesBytes, 'bytes');
  }

  /** @param total bytes of content written so far @throws Capacity when they leave too little for the host's VMs */
  assertRoom(total: number): void {
    if (total <= this.roomBytes) return;
    throw new Capacity(
      `the image is too large for ${this.directory}: its content is needed twice there for a while, and 1 GiB stays free`,
      { reason: 'DISK_FULL', metadata: { path: this.directory, content_bytes: String(total) } },
    );
  }
}

const tooLarge = (what: string, limit: number, unit: string) =>
  refused('IMAGE_TOO_LARGE', `it ${what} ${String(limit)} ${unit}, which is the limit`, { limit: String(limit) });
