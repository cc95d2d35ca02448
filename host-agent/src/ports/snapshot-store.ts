import type { ImageId, InstanceId, SnapshotId } from '../domain/ids.js';
import type { Snapshot } from '../domain/snapshot.js';

export interface SnapshotFilter {
  /** Only those taken of this instance. */
  readonly source?: InstanceId;
  readonly labels?: Readonly<Record<string, string>>;
  /** Only those whose disks are made of this one. */
  readonly image?: ImageId;
  /** Only ids after this one. */
  readonly after?: SnapshotId;
  readonly limit?: number;
}

/** The rows of snapshots: complete ones only. */
export interface SnapshotStore {
  /** @throws AlreadyExists when the name is taken */
  insert(snapshot: Snapshot): void;
  /** Replaces the row with the same id. */
  update(snapshot: Snapshot): void;
  delete(id: SnapshotId): void;
  byId(id: SnapshotId): Snapshot | undefined;
  /** @throws AlreadyExists */
  assertNameFree(name: string): void;
  /** By id, then name, then unambiguous id prefix of at least 6 characters. @throws NotFound, or InvalidInput for an ambiguous prefix */
  resolve(reference: string): Snapshot;
  /** In order of creation. */
  list(filter?: SnapshotFilter): Snapshot[];
}
