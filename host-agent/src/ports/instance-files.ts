import type { InstanceId } from '../domain/ids.js';
import type { FileStamp, Instance } from '../domain/instance.js';
import type { CapturePaths } from '../paths.js';
import type { WorkloadSpec } from './guest-link.js';

/** The folders of instances, and of captures that belong to none. */
export interface InstanceFiles {
  /** Makes the folder of a new instance with its record in it. */
  create(instance: Instance): Promise<void>;
  exists(id: InstanceId): Promise<boolean>;
  /** Writes the record. @param durable see os/durable-file.ts */
  save(instance: Instance, options: { durable: boolean }): Promise<void>;
  /** Removes the folder with everything in it, at once for every onlooker; missing is success. */
  remove(id: InstanceId): Promise<void>;
  saveWorkload(id: InstanceId, workload: WorkloadSpec): Promise<void>;
  /** What the instance runs after a boot; undefined for nothing. */
  loadWorkload(id: InstanceId): Promise<WorkloadSpec | undefined>;
  /** The workload of one moment of an instance, as another's own; none is none. */
  copyWorkload(source: CapturePaths, destination: CapturePaths): Promise<void>;
  /** A memory file under the same inode in another folder: shares the page cache and outlives the first name. */
  shareMemory(memoryFile: string, other: CapturePaths): Promise<void>;
  /** Puts the memory a private clone was captured to in the place of its base, unless that was done already. */
  adoptNextMemory(id: InstanceId): Promise<void>;
  /** Removes the memory and what else belongs to a moment of it; the disk stays. */
  dropCapture(id: InstanceId): Promise<void>;
  /** Makes the folder of a capture that belongs to no instance. */
  createCapture(paths: CapturePaths): Promise<void>;
  /** Removes it; forks made of it hold its memory by links of their own. */
  removeCapture(paths: CapturePaths): Promise<void>;
  stampOf(path: string): Promise<FileStamp>;
  /** Removes what a killed daemon left: folders on their way out, temporary files, memory of captures that were not finished, folders without an instance, captures. Returns what was removed. */
  sweep(known: ReadonlySet<string>): Promise<readonly string[]>;
}
