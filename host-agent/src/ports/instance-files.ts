import type { InstanceId } from '../domain/ids.js';
import type { FileStamp, Instance } from '../domain/instance.js';

/** The folders of instances. */
export interface InstanceFiles {
  /** Makes the folder of a new instance with its record in it. */
  create(instance: Instance): Promise<void>;
  exists(id: InstanceId): Promise<boolean>;
  /** Writes the record. @param durable see os/durable-file.ts */
  save(instance: Instance, options: { durable: boolean }): Promise<void>;
  /** Removes the folder with everything in it, at once for every onlooker; missing is success. */
  remove(id: InstanceId): Promise<void>;
  /** The memory of a capture, under the same inode, in another instance's folder: shares the page cache and outlives the source's name. */
  shareMemory(source: InstanceId, fork: InstanceId): Promise<void>;
  /** Puts the memory a private clone was captured to in the place of its base. */
  adoptNextMemory(id: InstanceId): Promise<void>;
  /** Removes a capture's files. */
  dropCapture(id: InstanceId): Promise<void>;
  stampOf(path: string): Promise<FileStamp>;
  /** Removes what a killed daemon left: folders on their way out, temporary files, folders without an instance. Returns what was removed. */
  sweep(known: ReadonlySet<string>): Promise<readonly string[]>;
}
