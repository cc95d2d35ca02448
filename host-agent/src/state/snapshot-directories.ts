import { open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Corrupt } from '@offshoot/shared/errors.js';
import type { SnapshotId } from '../domain/ids.js';
import type { FileStamp } from '../domain/instance.js';
import type { Snapshot } from '../domain/snapshot.js';
import { replaceFile, syncDirectory } from '../os/durable-file.js';
import { digestFile } from '../os/file-digest.js';
import { storageUse } from '../os/storage-use.js';
import { unlessMissing } from '../os/unless-missing.js';
import { CapturePaths, SnapshotPaths, isDiskFile, type StatePaths } from '../paths.js';
import type { SnapshotFiles } from '../ports/snapshot-files.js';
import { isFolder, removeFolder, stampOf } from './folders.js';

/** A folder under this prefix is being put together. */
const STAGED = '.new-';

const KEYS = ['size', 'mtimeNs', 'inode'] as const;

/** Snapshots as folders under `snapshots/`, each with a record that describes it. */
export class SnapshotDirectories implements SnapshotFiles {
  constructor(private readonly paths: StatePaths) {}

  staged(id: SnapshotId): CapturePaths {
    return new CapturePaths(this.stagedRoot(id), id);
  }

  async stampsOf(staged: CapturePaths): Promise<Readonly<Record<string, FileStamp>>> {
    // A disk that is not in the folder is a link: whoever keeps it answers for it.
    const entries = await readdir(staged.root, { withFileTypes: true });
    const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    return Object.fromEntries(
      await Promise.all(names.sort().map(async (name) => [name, await stampOf(join(staged.root, name))] as const)),
    );
  }

  async publish(snapshot: Snapshot): Promise<void> {
    const staged = new SnapshotPaths(this.stagedRoot(snapshot.id));
    await replaceFile(staged.record, serialised(snapshot), { durable: true });
    await rename(staged.root, this.paths.snapshot(snapshot.id).root);
    await syncDirectory(this.paths.snapshots);
  }

  async save(snapshot: Snapshot): Promise<void> {
    await replaceFile(this.paths.snapshot(snapshot.id).record, serialised(snapshot), { durable: true });
  }

  async assertUnchanged(snapshot: Snapshot): Promise<void> {
    await Promise.all(
      this.filesOf(snapshot).map(async ([name, path, expected]) => {
        const found = await unlessMissing(stampOf(path));
        if (found === undefined) throw altered(snapshot, path, `${name} is missing`);
        for (const key of KEYS)
          if (found[key] !== expected[key])
            throw altered(snapshot, path, `${key} of ${name} is ${String(found[key])}, was ${String(expected[key])}`);
      }),
    );
  }

  async flush(snapshot: Snapshot, signal: AbortSignal): Promise<void> {
    for (const [, path] of this.filesOf(snapshot)) {
      signal.throwIfAborted();
      await using file = await open(path, 'r');
      await file.sync();
    }
    await syncDirectory(this.paths.snapshot(snapshot.id).root);
  }

  async checksumsOf(snapshot: Snapshot, signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    const checksums: Record<string, string> = {};
    for (const [name, path] of this.filesOf(snapshot)) {
      const digest = await unlessMissing(digestFile(path, signal));
      if (digest === undefined) throw altered(snapshot, path, `${name} is missing`);
      checksums[name] = digest;
    }
    return checksums;
  }

  async allocatedBytes(id: SnapshotId): Promise<number> {
    const { ownBytes, sharedBytes } = await storageUse(this.paths.snapshot(id).root, (name) => !isDiskFile(name));
    return ownBytes + sharedBytes;
  }

  async remove(id: SnapshotId): Promise<void> {
    await removeFolder(this.stagedRoot(id));
    await removeFolder(this.paths.snapshot(id).root);
  }

  exists(id: SnapshotId): Promise<boolean> {
    return isFolder(this.paths.snapshot(id).root);
  }

  async sweep(known: ReadonlySet<string>): Promise<readonly string[]> {
    const removed: string[] = [];
    for (const name of (await unlessMissing(readdir(this.paths.snapshots))) ?? []) {
      const folder = join(this.paths.snapshots, name);
      if (known.has(name)) {
        for (const file of await readdir(folder))
          if (file.endsWith('.tmp')) await rm(join(folder, file), { force: true });
        continue;
      }
      await rm(folder, { recursive: true, force: true });
      removed.push(name);
    }
    return removed;
  }

  private stagedRoot(id: SnapshotId): string {
    return join(this.paths.snapshots, `${STAGED}${id}`);
  }

  private filesOf({ id, stamps }: Snapshot): (readonly [string, string, FileStamp])[] {
    const { root } = this.paths.snapshot(id);
    return Object.entries(stamps).map(([name, stamp]) => [name, join(root, name), stamp]);
  }
}

const serialised = (snapshot: Snapshot): string => `${JSON.stringify(snapshot, null, 2)}\n`;

const altered = ({ name }: Snapshot, path: string, what: string): Corrupt =>
  new Corrupt(`snapshot ${name} is not what was left: ${what}`, {
    reason: 'SNAPSHOT_ALTERED',
    metadata: { snapshot: name, path },
  });
