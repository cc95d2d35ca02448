import type { InstanceId } from '../domain/ids.js';
import type { FileStamp, Instance } from '../domain/instance.js';
import type { CapturePaths } from '../paths.js';
import type { WorkloadSpec } from './guest-link.js';

/** Bytes that files take on the disk, holes not counted. */
export interface StorageUse {
  /** In files nobody else has a name of. */
  readonly ownBytes: number;
  /** In files that others hold by links of their own. */
  readonly sharedBytes: number;
}

/** The folders of instances, and of captures that belong to none. */
export interface InstanceFiles {
  /** Makes the folder of a new instance with its record in it. */
  create(instance: Instance): Promise<void>;
  /**
   * The same with what stands in another folder beside memory, disk and record: its workload, and whatever else was put there.
   * @throws InvalidState for what cannot be copied: devices, FIFOs, links that lead out of the folder; SparseCopyUnsupported
   */
  createFrom(source: CapturePaths, instance: Instance, signal: AbortSignal): Promise<void>;
  exists(id: InstanceId): Promise<boolean>;
  /** Writes the record. @param durable see os/durable-file.ts */
  save(instance: Instance, options: { durable: boolean }): Promise<void>;
  /** Removes the folder with everything in it, at once for every onlooker; missing is success. */
  remove(id: InstanceId): Promise<void>;
  saveWorkload(id: InstanceId, workload: WorkloadSpec): Promise<void>;
  /** What the instance runs after a boot; undefined for nothing. */
  loadWorkload(id: InstanceId): Promise<WorkloadSpec | undefined>;
  /** A memory file under the same inode in another folder: shares the page cache and outlives the first name. */
  shareMemory(memoryFile: string, other: CapturePaths): Promise<void>;
  /** The memory and device state of one moment under the same inodes in another folder, with what is known of its mailboxes. */
  shareCapture(source: CapturePaths, destination: CapturePaths): Promise<void>;
  /** A folder for files that are to take the place of the instance's own; begun as by {@link createCapture}. */
  createNext(id: InstanceId, source: CapturePaths, signal: AbortSignal): Promise<CapturePaths>;
  removeNext(id: InstanceId): Promise<void>;
  /** Names of the files in it. */
  namesOfNext(id: InstanceId): Promise<readonly string[]>;
  /**
   * Makes these files the instance's own and removes all others of a moment; record, logs and sockets stay. Can be begun again
   * wherever it was cut short.
   */
  replaceByNext(id: InstanceId, names: readonly string[]): Promise<void>;
  /** Puts the memory a private clone was captured to in the place of its base, unless that was done already. */
  adoptNextMemory(id: InstanceId): Promise<void>;
  /** Removes the device state and the memory that a capture wrote for an instance which goes on after all. */
  dropMoment(id: InstanceId): Promise<void>;
  /** Removes the memory and what else belongs to a moment of it; the disk stays. */
  dropCapture(id: InstanceId): Promise<void>;
  /** Removes what the jail of a VMM was made of that is gone; nothing where there was none. */
  dropJail(id: InstanceId): Promise<void>;
  /** Makes the folder of a capture that belongs to no instance, with what stands in the source's beside memory, disk and record. */
  createCapture(paths: CapturePaths, source: CapturePaths, signal: AbortSignal): Promise<void>;
  /** Removes it; forks made of it hold its memory by links of their own. */
  removeCapture(paths: CapturePaths): Promise<void>;
  stampOf(path: string): Promise<FileStamp>;
  /** What the instance's folder takes beside its disk; nothing where there is none. */
  use(id: InstanceId): Promise<StorageUse>;
  /** Removes what a killed daemon left: folders on their way out, temporary files, memory of captures that were not finished, folders without an instance, captures. Returns what was removed. */
  sweep(known: ReadonlySet<string>): Promise<readonly string[]>;
}
