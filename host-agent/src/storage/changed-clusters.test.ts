import { mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { changedClusters } from './changed-clusters.js';

const CLUSTER = 4096;

describe('the clusters in which a disk differs from its image', () => {
  let root: string;
  let base: string;
  let changed: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'changed-clusters-'));
    [base, changed] = [join(root, 'base'), join(root, 'changed')];
    for (const file of [base, changed]) {
      await writeFile(file, Buffer.alloc(10 * CLUSTER, 0x11));
      await truncate(file, 100 * CLUSTER);
    }
  });
  afterEach(() => rm(root, { recursive: true }));

  async function write(file: string, cluster: number, bytes: Buffer): Promise<void> {
    await using handle = await open(file, 'r+');
    await handle.write(bytes, 0, bytes.length, cluster * CLUSTER);
  }

  it('are none of equal ones, whatever of their zeros are holes', async () => {
    await write(changed, 40, Buffer.alloc(CLUSTER));
    await write(base, 70, Buffer.alloc(CLUSTER));
    expect(await changedClusters(base, changed, CLUSTER)).toEqual([]);
  });

  it('are those with a changed byte, also one that became zero or was zero', async () => {
    await write(changed, 0, Buffer.from([1]));
    await write(changed, 9, Buffer.alloc(CLUSTER));
    await write(changed, 50, Buffer.alloc(18 * CLUSTER, 2));
    expect(await changedClusters(base, changed, CLUSTER)).toEqual([
      0,
      9,
      ...Array.from({ length: 18 }, (_, i) => 50 + i),
    ]);
  });

  it('are found behind the end of the image, and a last one that is cut short', async () => {
    await truncate(changed, 200 * CLUSTER + 10);
    await write(changed, 200, Buffer.from([0, 1]));
    expect(await changedClusters(base, changed, CLUSTER)).toEqual([200]);
  });

  it('are not looked for when the caller has gone', async () => {
    await expect(changedClusters(base, changed, CLUSTER, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });
});
