import { InvalidState } from '@offshoot/shared/errors.js';
import type { Instance } from '../domain/instance.js';
import { DISK_FORMATS, type DiskFormat, type StorageName } from '../domain/storage-name.js';
import type { DiskStorage } from '../ports/disk-storage.js';

/** The disk storages of this host, and which of them has whose disk. */
export class DiskStorages {
  private readonly byName: ReadonlyMap<StorageName, DiskStorage>;

  /** @param storages best ones first: of those with a format, new disks go to the first */
  constructor(private readonly storages: readonly DiskStorage[]) {
    this.byName = new Map(storages.map((storage) => [storage.name, storage]));
  }

  /** Where disks of new instances go, by what their hypervisor reads. */
  choose(format: DiskFormat): StorageName {
    const found = this.storages.find(({ name }) => DISK_FORMATS[name] === format);
    if (found === undefined) throw new Error(`no storage has ${format} disks`);
    return found.name;
  }

  /**
   * Whether the disk of an instance or snapshot can be used.
   * @throws InvalidState naming its storage and those that are here
   */
  assertHere(owner: Pick<Instance, 'name' | 'storage'>): void {
    this.of(owner);
  }

  /** The same, to be used. @throws as {@link assertHere} */
  of({ name, storage }: Pick<Instance, 'name' | 'storage'>): DiskStorage {
    const found = this.byName.get(storage);
    if (found !== undefined) return found;
    const here = [...this.byName.keys()].join(', ');
    throw new InvalidState(
      `the disk of ${name} is kept by the storage ${storage}, which this host does not have: it has ${here}`,
      { reason: 'STORAGE_MISMATCH', metadata: { recorded: storage, here } },
    );
  }
}
