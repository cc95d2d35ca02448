import { mkdtemp, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mintSnapshotId } from '../domain/ids.js';
import type { Snapshot } from '../domain/snapshot.js';
import { StatePaths, type CapturePaths } from '../paths.js';
import { SnapshotDirectories } from './snapshot-directories.js';

const never = new AbortController().signal;

describe('the folder of a snapshot', () => {
  let root: string;
  let files: SnapshotDirectories;
  let staged: CapturePaths;
  const id = mintSnapshotId();
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'ofs-'));
    const paths = new StatePaths(root);
    files = new SnapshotDirectories(paths);
    staged = files.staged(id);
    await mkdir(staged.root, { recursive: true });
    await writeFile(staged.memory, Buffer.alloc(8192, 1));
  });
  afterEach(() => rm(root, { recursive: true }));

  const published = async (): Promise<Snapshot> => {
    const snapshot = { id, name: 's', stamps: await files.stampsOf(staged) } as Snapshot;
    await files.publish(snapshot);
    return snapshot;
  };

  it('knows whose it is before it has its name', () => {
    expect(staged.id).toBe(id);
  });

  it('has a stamp and a checksum of each file, its disk too', async () => {
    await writeFile(staged.disk('raw'), 'disk');
    const snapshot = await published();
    await files.assertUnchanged(snapshot);
    await files.flush(snapshot, never);
    expect(Object.keys(await files.checksumsOf(snapshot, never))).toEqual(['disk.raw', 'memory']);
  });

  it('has none of a disk that is elsewhere, where it leads to or not', async () => {
    await symlink('/dev/zvol/pool/that/is/not/here', staged.volumeLink);
    const snapshot = await published();
    await files.assertUnchanged(snapshot);
    await files.flush(snapshot, never);
    expect(Object.keys(await files.checksumsOf(snapshot, never))).toEqual(['memory']);
  });

  it('tells what it takes beside the disk', async () => {
    await writeFile(staged.disk('raw'), Buffer.alloc(2 ** 20, 1));
    await published();
    const bytes = await files.allocatedBytes(id);
    expect(bytes).toBeGreaterThanOrEqual(8192);
    expect(bytes).toBeLessThan(2 ** 20);
  });
});
