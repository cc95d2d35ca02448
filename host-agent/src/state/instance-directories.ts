import { randomUUID } from 'node:crypto';
import { copyFile, link, mkdir, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import { parseInstanceId, type InstanceId } from '../domain/ids.js';
import type { FileStamp, Instance } from '../domain/instance.js';
import { replaceFile, syncDirectory } from '../os/durable-file.js';
import type { CapturePaths, StatePaths } from '../paths.js';
import type { WorkloadSpec } from '../ports/guest-link.js';
import type { InstanceFiles } from '../ports/instance-files.js';

/** A folder under this prefix is being removed. */
const TRASH = '.trash-';

/** Instances as folders under `instances/`, each with a record that describes it. */
export class InstanceDirectories implements InstanceFiles {
  constructor(private readonly paths: StatePaths) {}

  async create(instance: Instance): Promise<void> {
    const paths = this.paths.instance(instance.id);
    await mkdir(paths.root, { mode: 0o700 });
    await Promise.all([mkdir(paths.run, { mode: 0o700 }), mkdir(paths.logs, { mode: 0o700 })]);
    await this.save(instance, { durable: false });
  }

  async exists(id: InstanceId): Promise<boolean> {
    return (await unlessMissing(stat(this.paths.instance(id).root)))?.isDirectory() ?? false;
  }

  async save(instance: Instance, options: { durable: boolean }): Promise<void> {
    await replaceFile(this.paths.instance(instance.id).record, `${JSON.stringify(instance, null, 2)}\n`, options);
  }

  async remove(id: InstanceId): Promise<void> {
    const trash = join(this.paths.instances, `${TRASH}${id}-${randomUUID()}`);
    try {
      await rename(this.paths.instance(id).root, trash);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      throw error;
    }
    await rm(trash, { recursive: true, force: true });
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

  async copyWorkload(source: CapturePaths, destination: CapturePaths): Promise<void> {
    await unlessMissing(copyFile(source.workload, destination.workload));
  }

  async shareMemory(memoryFile: string, other: CapturePaths): Promise<void> {
    await link(memoryFile, other.memory);
  }

  async adoptNextMemory(id: InstanceId): Promise<void> {
    const paths = this.paths.instance(id);
    await unlessMissing(rename(paths.nextMemory, paths.memory));
    await syncDirectory(paths.root);
  }

  async dropCapture(id: InstanceId): Promise<void> {
    const paths = this.paths.instance(id);
    for (const path of [paths.deviceState, paths.mailboxIndex, paths.nextMemory, paths.memory])
      await rm(path, { force: true });
  }

  async createCapture(paths: CapturePaths): Promise<void> {
    await mkdir(paths.root, { recursive: true, mode: 0o700 });
  }

  async removeCapture(paths: CapturePaths): Promise<void> {
    await rm(paths.root, { recursive: true, force: true });
  }

  async stampOf(path: string): Promise<FileStamp> {
    const { size, mtimeNs, ino } = await stat(path, { bigint: true });
    return { size: Number(size), mtimeNs: String(mtimeNs), inode: String(ino) };
  }

  async sweep(known: ReadonlySet<string>): Promise<readonly string[]> {
    const removed = (await unlessMissing(readdir(this.paths.captures))) ?? [];
    await rm(this.paths.captures, { recursive: true, force: true });
    for (const name of await readdir(this.paths.instances)) {
      const directory = join(this.paths.instances, name);
      if (known.has(name)) {
        for (const file of await readdir(directory))
          if (file.endsWith('.tmp') || file === basename(this.paths.instance(parseInstanceId(name)).nextMemory))
            await rm(join(directory, file), { force: true });
        continue;
      }
      await rm(directory, { recursive: true, force: true });
      removed.push(name);
    }
    return removed;
  }
}

type StoredWorkload = Omit<WorkloadSpec, 'files'> & {
  readonly files: readonly { readonly path: string; readonly mode: number; readonly content: string }[];
};

async function unlessMissing<Value>(work: Promise<Value>): Promise<Value | undefined> {
  try {
    return await work;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
