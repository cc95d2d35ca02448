import { link, lstat, mkdir, readFile, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { InstanceId } from '../domain/ids.js';
import type { FileStamp, Instance } from '../domain/instance.js';
import { UNFINISHED_COPY, copyDirectory } from '../os/directory-copy.js';
import { replaceFile, syncDirectory } from '../os/durable-file.js';
import { JAIL_FOLDER } from '../os/jail-name.js';
import { storageUse } from '../os/storage-use.js';
import { unlessMissing } from '../os/unless-missing.js';
import { isDiskFile, type CapturePaths, type StatePaths } from '../paths.js';
import type { WorkloadSpec } from '../ports/guest-link.js';
import type { InstanceFiles, StorageUse } from '../ports/instance-files.js';
import { isFolder, removeFolder, stampOf } from './folders.js';

/** Folder of files that were to replace an instance's own. */
const NEXT = 'next';

/** Memory of a private clone that was captured here, until the capture is complete. */
const NEXT_MEMORY = 'memory.next';

/** By the sweep, what was to be finished is: these belong to something that was not. */
const HALF_MADE: readonly string[] = [NEXT, NEXT_MEMORY];

/** Names in a folder that are shared, cloned, or its owner's own; see {@link copyFolder}. */
const NOT_COPIED = [
  'memory',
  NEXT_MEMORY,
  'device-state',
  'mailboxes.json',
  'instance.json',
  'snapshot.json',
  'run',
  JAIL_FOLDER,
  NEXT,
];

/** Instances as folders under `instances/`, each with a record that describes it. */
export class InstanceDirectories implements InstanceFiles {
  constructor(private readonly paths: StatePaths) {}

  async create(instance: Instance): Promise<void> {
    const { root, run, logs } = this.paths.instance(instance.id);
    await mkdir(root, { mode: 0o700 });
    await Promise.all([mkdir(run, { mode: 0o700 }), mkdir(logs, { mode: 0o700 })]);
    await this.save(instance, { durable: false });
  }

  async createFrom(source: CapturePaths, instance: Instance, signal: AbortSignal): Promise<void> {
    // At once, though empty: its log can be followed from the moment on at which the instance is listed.
    await this.create(instance);
    const { root, next } = this.paths.instance(instance.id);
    await copyFolder(source, next, signal);
    for (const name of await readdir(next.root)) await rename(join(next.root, name), join(root, name));
    await rmdir(next.root);
  }

  exists(id: InstanceId): Promise<boolean> {
    return isFolder(this.paths.instance(id).root);
  }

  async save(instance: Instance, options: { durable: boolean }): Promise<void> {
    await replaceFile(this.paths.instance(instance.id).record, `${JSON.stringify(instance, null, 2)}\n`, options);
  }

  async remove(id: InstanceId): Promise<void> {
    await removeFolder(this.paths.instance(id).root);
  }

  async saveWorkload(id: InstanceId, workload: WorkloadSpec): Promise<void> {
    const files = workload.files.map((file) => ({ ...file, content: file.content.toString('base64') }));
    await replaceFile(this.paths.instance(id).workload, JSON.stringify({ ...workload, files }), { durable: false });
  }

  async loadWorkload(id: InstanceId): Promise<WorkloadSpec | undefined> {
    const text = await unlessMissing(readFile(this.paths.instance(id).workload, 'utf8'));
    if (text === undefined) return undefined;
    // Written by this class alone, from values of the type.
    const { files, ...rest } = JSON.parse(text) as StoredWorkload;
    return { ...rest, files: files.map((file) => ({ ...file, content: Buffer.from(file.content, 'base64') })) };
  }

  async shareMemory(memoryFile: string, other: CapturePaths): Promise<void> {
    await link(memoryFile, other.memory);
  }

  async shareCapture(source: CapturePaths, destination: CapturePaths): Promise<void> {
    await link(source.memory, destination.memory);
    await link(source.deviceState, destination.deviceState);
    await unlessMissing(link(source.mailboxIndex, destination.mailboxIndex));
  }

  async createNext(id: InstanceId, source: CapturePaths, signal: AbortSignal): Promise<CapturePaths> {
    await this.removeNext(id);
    const { next } = this.paths.instance(id);
    await copyFolder(source, next, signal);
    return next;
  }

  async removeNext(id: InstanceId): Promise<void> {
    await rm(this.paths.instance(id).next.root, { recursive: true, force: true });
  }

  async namesOfNext(id: InstanceId): Promise<readonly string[]> {
    return (await readdir(this.paths.instance(id).next.root)).sort();
  }

  async replaceByNext(id: InstanceId, names: readonly string[]): Promise<void> {
    const { root, next, record, run, logs } = this.paths.instance(id);
    for (const name of names) {
      const staged = await unlessMissing(lstat(join(next.root, name)));
      if (staged === undefined) continue; // in its place already
      // A file takes the other's place at once; a folder only one that is empty.
      if (staged.isDirectory()) await rm(join(root, name), { recursive: true, force: true });
      await rename(join(next.root, name), join(root, name));
    }
    const kept = [...names, ...[record, run, logs, next.root].map((path) => basename(path))];
    for (const name of await readdir(root))
      if (!kept.includes(name)) await rm(join(root, name), { recursive: true, force: true });
    await this.removeNext(id);
  }

  async adoptNextMemory(id: InstanceId): Promise<void> {
    const paths = this.paths.instance(id);
    await unlessMissing(rename(paths.nextMemory, paths.memory));
    await syncDirectory(paths.root);
  }

  async dropMoment(id: InstanceId): Promise<void> {
    const { deviceState, nextMemory } = this.paths.instance(id);
    for (const path of [deviceState, nextMemory]) await rm(path, { force: true });
  }

  async dropCapture(id: InstanceId): Promise<void> {
    await this.dropMoment(id);
    const { mailboxIndex, memory } = this.paths.instance(id);
    for (const path of [mailboxIndex, memory]) await rm(path, { force: true });
  }

  async dropJail(id: InstanceId): Promise<void> {
    await rm(join(this.paths.instance(id).root, JAIL_FOLDER), { recursive: true, force: true });
  }

  async createCapture(paths: CapturePaths, source: CapturePaths, signal: AbortSignal): Promise<void> {
    await mkdir(dirname(paths.root), { recursive: true, mode: 0o700 });
    await copyFolder(source, paths, signal);
  }

  async removeCapture(paths: CapturePaths): Promise<void> {
    await rm(paths.root, { recursive: true, force: true });
  }

  stampOf(path: string): Promise<FileStamp> {
    return stampOf(path);
  }

  async use(id: InstanceId): Promise<StorageUse> {
    return storageUse(this.paths.instance(id).root, (name) => !isDiskFile(name));
  }

  async sweep(known: ReadonlySet<string>): Promise<readonly string[]> {
    const removed = (await unlessMissing(readdir(this.paths.captures))) ?? [];
    await rm(this.paths.captures, { recursive: true, force: true });
    for (const name of await readdir(this.paths.instances)) {
      const directory = join(this.paths.instances, name);
      if (known.has(name)) {
        for (const file of await readdir(directory))
          if (file.endsWith('.tmp') || file.startsWith(UNFINISHED_COPY) || HALF_MADE.includes(file))
            await rm(join(directory, file), { recursive: true, force: true });
        continue;
      }
      await rm(directory, { recursive: true, force: true });
      removed.push(name);
    }
    return removed;
  }
}

/**
 * Copies what of a folder can simply be copied; it appears whole, or not at all. Memory, device state and the layers of the
 * disk are shared by links instead, the disk is cloned, and the rest is of the one that has it.
 */
async function copyFolder(source: CapturePaths, destination: CapturePaths, signal: AbortSignal): Promise<void> {
  const disk = (await readdir(source.root)).filter(isDiskFile);
  await copyDirectory(source.root, destination.root, { exclude: [...NOT_COPIED, ...disk], durable: false }, signal);
}

type StoredWorkload = Omit<WorkloadSpec, 'files'> & {
  readonly files: readonly { readonly path: string; readonly mode: number; readonly content: string }[];
};
