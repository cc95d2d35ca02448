import type { SnapshotId } from '../domain/ids.js';
import type { FileStamp } from '../domain/instance.js';
import type { Snapshot } from '../domain/snapshot.js';
import type { CapturePaths } from '../paths.js';

/** The folders of snapshots. Files in them never change once the snapshot is published. */
export interface SnapshotFiles {
  /** The folder in which a snapshot is put together, which is to be made; nobody sees it as one. */
  staged(id: SnapshotId): CapturePaths;
  /** Stamps of the files that lie in the staged folder, by name; a disk that is elsewhere has none. */
  stampsOf(staged: CapturePaths): Promise<Readonly<Record<string, FileStamp>>>;
  /** Writes the record and gives the folder its name: from here on it is a snapshot. */
  publish(snapshot: Snapshot): Promise<void>;
  /** Writes the record anew, to stable storage. */
  save(snapshot: Snapshot): Promise<void>;
  /** @throws Corrupt naming the file and both values, unless every file is the one that was left */
  assertUnchanged(snapshot: Snapshot): Promise<void>;
  /** Writes every file through to stable storage. Takes as long as the disk takes. */
  flush(snapshot: Snapshot, signal: AbortSignal): Promise<void>;
  /** Checksums of all files, as they are now, by name. Reads everything. */
  checksumsOf(snapshot: Snapshot, signal: AbortSignal): Promise<Readonly<Record<string, string>>>;
  /** Bytes of the files on disk, but for the snapshot's disk. */
  allocatedBytes(id: SnapshotId): Promise<number>;
  /** Removes the folder, staged or published, at once for every onlooker; missing is success. */
  remove(id: SnapshotId): Promise<void>;
  exists(id: SnapshotId): Promise<boolean>;
  /** Removes what a killed daemon left. Returns what was removed. */
  sweep(known: ReadonlySet<string>): Promise<readonly string[]>;
}
