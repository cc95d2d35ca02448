import { InvalidState } from '@offshoot/shared/errors.js';
import type { ImageId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import { DISKS_IN_FOLDERS, DISK_FORMATS, type StorageName } from '../domain/storage-name.js';
import type { CapturePaths } from '../paths.js';
import type { DiskElsewhere, DiskStorage } from '../ports/disk-storage.js';
import type { HypervisorDriver } from '../ports/driver.js';
import type { StorageUse } from '../ports/instance-files.js';

/** An instance or a snapshot, or what a fork takes over from one. */
type Owner = Pick<Instance, 'name' | 'storage'>;

/** Whose disk is to be made. */
type Reader = Pick<HypervisorDriver, 'name' | 'diskFormats'>;

/** The disk storages of this host, and which of them has whose disk. */
export class DiskStorages {
  private readonly byName: ReadonlyMap<StorageName, DiskStorage>;

  /**
   * @param here best ones first: of those with a format, new disks go to the first
   * @param missing why the others are not
   * @param wanted where all new disks go, whichever would be best for a hypervisor
   * @throws InvalidState when that one is not here
   */
  constructor(
    private readonly here: readonly DiskStorage[],
    private readonly missing: ReadonlyMap<StorageName, string> = new Map(),
    private readonly wanted?: StorageName,
  ) {
    this.byName = new Map(here.map((storage) => [storage.name, storage]));
    if (wanted === undefined || this.byName.has(wanted)) return;
    throw new InvalidState(`storage.driver is ${wanted}, which this host does not have (${this.whyMissing(wanted)})`, {
      reason: 'STORAGE_MISMATCH',
      metadata: { wanted, here: this.names },
    });
  }

  /**
   * Where disks of new instances go, by what their hypervisor reads.
   * @throws InvalidState when it cannot read those of the storage that is wanted for all
   */
  choose({ name, diskFormats }: Reader): StorageName {
    if (this.wanted !== undefined) {
      const format = DISK_FORMATS[this.wanted];
      if (diskFormats.includes(format)) return this.wanted;
      throw new InvalidState(
        `storage.driver is ${this.wanted}, whose ${format} disks the driver ${name} does not read: it reads ${diskFormats.join(', ')}`,
        { reason: 'STORAGE_UNREADABLE', metadata: { driver: name, storage: this.wanted } },
      );
    }
    // Somebody who gives the daemon a dataset means disks to be in it.
    const pooled = diskFormats.includes(DISK_FORMATS.zfs) ? this.byName.get('zfs') : undefined;
    const found =
      pooled ?? diskFormats.map((format) => this.here.find((each) => DISK_FORMATS[each.name] === format)).find(Boolean);
    if (found === undefined) throw new Error(`no storage has ${diskFormats.join(' or ')} disks`);
    return found.name;
  }

  /**
   * Whether the disk of an instance or snapshot can be used.
   * @throws InvalidState naming its storage, why that is not here, and what is
   */
  assertHere(owner: Owner): void {
    this.of(owner);
  }

  /** The same, to be used. @throws as {@link assertHere} */
  of({ name, storage }: Owner): DiskStorage {
    const found = this.byName.get(storage);
    if (found !== undefined) return found;
    throw new InvalidState(
      `the disk of ${name} is kept by the storage ${storage}, which this host does not have (${this.whyMissing(storage)}); it has ${this.names}`,
      { reason: 'STORAGE_MISMATCH', metadata: { recorded: storage, here: this.names } },
    );
  }

  private get names(): string {
    return [...this.byName.keys()].join(', ');
  }

  private whyMissing(storage: StorageName): string {
    return this.missing.get(storage) ?? 'it is unknown';
  }

  /**
   * Removes the disk of a folder that is about to be removed itself. What lies in the folder can be removed also where nobody
   * could use it.
   * @throws InvalidState as {@link assertHere}, and where something that is not the daemon's stands on it
   */
  async destroy(owner: Owner, folder: CapturePaths): Promise<void> {
    if (this.byName.has(owner.storage) || !DISKS_IN_FOLDERS[owner.storage]) await this.of(owner).destroy(folder);
  }

  /** What the disk takes; nothing where that cannot be known, since its storage is not here. */
  async usage(owner: Owner, folder: CapturePaths): Promise<StorageUse> {
    return (await this.byName.get(owner.storage)?.usage(folder)) ?? { ownBytes: 0, sharedBytes: 0 };
  }

  /** Removes what storages keep of an image that no disk is of. @throws InvalidState DISK_IN_USE where one is */
  async forgetImage(image: ImageId): Promise<void> {
    for (const storage of this.here) await storage.forgetImage(image);
  }

  /** The same for all images but these. Returns what was removed. */
  async sweepImages(kept: ReadonlySet<ImageId>): Promise<readonly string[]> {
    return (await Promise.all(this.here.map((storage) => storage.sweepImages(kept)))).flat();
  }

  /** Disks that lie in no folder, whosever. */
  async elsewhere(): Promise<readonly DiskElsewhere[]> {
    return (await Promise.all(this.here.map((storage) => storage.elsewhere()))).flat();
  }

  /** Removes one of these, which belongs to nobody. */
  async discard(name: string): Promise<void> {
    for (const storage of this.here)
      if ((await storage.elsewhere()).some((disk) => disk.name === name)) await storage.discard(name);
  }

  /** Removes disks that none of these folders has. Returns what was removed. */
  async sweep(folders: readonly CapturePaths[]): Promise<readonly string[]> {
    return (await Promise.all(this.here.map((storage) => storage.sweep(folders)))).flat();
  }
}
