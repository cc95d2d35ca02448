import { execFile } from 'node:child_process';
import { mkdtemp, open, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CLUSTER_BYTES, readQcow2Header } from './qcow2-header.js';
import { createOverlay, rawContent, type Overlay } from './qcow2-overlay.js';

const run = promisify(execFile);
const missing = await run('qemu-img', ['--version']).then(
  () => '',
  () => 'qemu-img',
);
const MIB = 2 ** 20;
const GIB = 2 ** 30;

describe.skipIf(missing !== '')(`a qcow2 disk on another one${missing && ` (skipped: ${missing})`}`, () => {
  let root: string;
  let raw: string;
  let disk: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'overlay-'));
    [raw, disk] = [join(root, 'raw'), join(root, 'disk.qcow2')];
    const image = await open(join(root, 'image'), 'wx');
    await image.write(Buffer.alloc(4 * MIB, 0x11));
    await image.close();
  });
  afterEach(() => rm(root, { recursive: true }));

  /** @param clusters of the raw disk */
  async function create(
    path: string,
    overlay: Omit<Overlay, 'content'>,
    clusters: readonly number[],
    signal?: AbortSignal,
  ): Promise<void> {
    await using file = await open(raw, 'r');
    await createOverlay(path, { ...overlay, content: rawContent(file, clusters) }, signal);
  }

  /** Makes a raw disk of so many bytes with these clusters, each filled with its place in the list, and an overlay of them. */
  async function overlay(virtualBytes: number, clusters: readonly number[]): Promise<void> {
    {
      await using file = await open(raw, 'wx');
      await file.truncate(virtualBytes);
      for (const [i, cluster] of clusters.entries())
        await file.write(Buffer.alloc(CLUSTER_BYTES, 1 + (i % 255)), 0, CLUSTER_BYTES, cluster * CLUSTER_BYTES);
    }
    await truncate(raw, virtualBytes);
    const backing = { backing: join(root, 'image'), backingFormat: 'raw' } as const;
    await create(disk, { virtualBytes, ...backing }, clusters);
    // Counts every cluster of the file, and fails where one is counted wrongly or not at all.
    await run('qemu-img', ['check', disk]);
  }
  async function holds(value: number, cluster: number, bytes = CLUSTER_BYTES): Promise<boolean> {
    const command = `read -P ${String(value)} ${String(cluster * CLUSTER_BYTES)} ${String(bytes)}`;
    const { stdout } = await run('qemu-io', ['-r', '-c', command, disk]).catch(
      (error: unknown) => error as { stdout: string },
    );
    return stdout.includes('bytes at offset') && !/verification failed/i.test(stdout);
  }

  it('has the clusters it is given, and what it stands on everywhere else', async () => {
    await overlay(4 * MIB, [0, 7, 8, 63]);
    for (const [i, cluster] of [0, 7, 8, 63].entries()) expect(await holds(i + 1, cluster), String(cluster)).toBe(true);
    for (const cluster of [1, 6, 9, 62]) expect(await holds(0x11, cluster), String(cluster)).toBe(true);
    expect((await stat(disk)).mode & 0o777).toBe(0o600);
  });

  it('may be larger than what it stands on: zeros, and clusters in tables of their own', async () => {
    const clusters = [3, GIB / CLUSTER_BYTES, (500 * GIB) / CLUSTER_BYTES];
    await overlay(512 * GIB, clusters);
    expect(readQcow2Header(disk).virtualBytes).toBe(512 * GIB);
    for (const [i, cluster] of clusters.entries()) expect(await holds(i + 1, cluster), String(cluster)).toBe(true);
    expect(await holds(0, 64)).toBe(true);
    expect(await holds(0, (512 * GIB) / CLUSTER_BYTES - 1)).toBe(true);
    expect((await stat(disk)).size).toBeLessThan(MIB);
  });

  it('takes a last cluster that the end of the disk cuts short', async () => {
    await overlay(4 * MIB + 8192, [64]);
    expect(await holds(1, 64, 8192)).toBe(true);
  });

  it(
    'counts its clusters in as many blocks as it takes, and has no room taken for zeros',
    { timeout: 30_000 },
    async () => {
      // 32768 of 64 KiB: one block counts no more. Their bytes are holes, in either file.
      const clusters = Array.from({ length: 33_000 }, (_, i) => i);
      {
        await using file = await open(raw, 'wx');
        await file.truncate(3 * GIB);
      }
      const backing = { backing: join(root, 'image'), backingFormat: 'raw' } as const;
      await create(disk, { virtualBytes: 3 * GIB, ...backing }, clusters);
      await run('qemu-img', ['check', disk]);
      expect(await holds(0, 32_999)).toBe(true);
      expect((await stat(disk)).blocks * 512).toBeLessThan(MIB);
    },
  );

  it('is not made where there is a file, nor to its end for a caller that has gone', async () => {
    await overlay(4 * MIB, [1]);
    const backing = { backing: join(root, 'image'), backingFormat: 'raw', virtualBytes: 4 * MIB } as const;
    await expect(createOverlay(disk, backing)).rejects.toThrow('EEXIST');
    const other = join(root, 'other');
    const gone = AbortSignal.abort(new Error('gone'));
    await expect(create(other, backing, [1], gone)).rejects.toThrow('gone');
  });
});
