import type { DriverName } from './driver-capabilities.js';
import type { ImageId, InstanceId, SnapshotId } from './ids.js';
import type { AgentInfo, Capture, FileStamp } from './instance.js';
import type { StorageName } from './storage-name.js';

/** One moment of an instance that is kept: its disk and, unless it was stopped, its memory and devices. */
export interface Snapshot {
  readonly id: SnapshotId;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly sourceId: InstanceId;
  /** The source's name at that time. */
  readonly sourceName: string;
  readonly imageId: ImageId;
  readonly driver: DriverName;
  readonly storage: StorageName;
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** As its source's. */
  readonly diskBytes?: number;
  readonly agent?: AgentInfo;
  /** Absent for a snapshot of a stopped instance, which has a disk alone. */
  readonly capture?: Capture;
  /** Each file of the snapshot as it was left; compared whenever it is used. */
  readonly stamps: Readonly<Record<string, FileStamp>>;
  /** Checksum of each file, see os/file-digest.ts. Once they are there, the snapshot is on stable storage. */
  readonly checksums?: Readonly<Record<string, string>>;
}
