import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { copyDirectory, type DirectoryCopyCost } from './directory-copy.js';
import { copyExtents } from './sparse-copy.js';
import { describeOn } from './testing/describe-on.js';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** Sparse files: what is written where, and how long they are. */
const FILES = {
  empty: { size: 0, data: [] },
  hole: { size: 64 * MIB, data: [] },
  dense: { size: 5 * MIB + 123, data: [[0, 5 * MIB + 123]] },
  /** 8 KiB of data in 1 GiB. */
  disk: {
    size: GIB,
    data: [
      [300 * MIB, 4 * KIB],
      [GIB - 4 * KIB, 4 * KIB],
    ],
  },
  ragged: {
    size: 40 * MIB,
    data: [
      [1, 1],
      [17 * MIB - 5, 10],
      [30 * MIB, MIB],
    ],
  },
} as const satisfies Record<string, { size: number; data: readonly (readonly [offset: number, length: number])[] }>;

const DATA_BYTES = Object.values(FILES)
  .flatMap(({ data }) => data)
  .reduce((sum, [, length]) => sum + length, 0);
/** Data begins and ends within blocks, which are at most 64 KiB. */
const ROUNDING = 2 * 64 * KIB * Object.values(FILES).flatMap(({ data }) => data).length;

async function writeTree(directory: string): Promise<void> {
  await mkdir(join(directory, 'inner'), { recursive: true });
  for (const [name, { size, data }] of Object.entries(FILES)) {
    await using file = await open(join(directory, 'inner', name), 'wx');
    await file.truncate(size);
    for (const [offset, length] of data) await file.write(randomBytes(length), 0, length, offset);
    await file.sync();
  }
}

async function expectSame(source: string, copy: string): Promise<void> {
  expect((await readdir(copy, { recursive: true })).sort()).toEqual(
    (await readdir(source, { recursive: true })).sort(),
  );
  let allocated = 0;
  for (const [name, { size, data }] of Object.entries(FILES)) {
    await using before = await open(join(source, 'inner', name));
    await using after = await open(join(copy, 'inner', name));
    expect((await after.stat()).size).toBe(size);
    for (const [offset, length] of data)
      expect((await part(after, offset, length)).equals(await part(before, offset, length))).toBe(true);
    // The rest is zeros, because it takes no room.
    allocated += (await after.stat()).blocks * 512;
  }
  expect(allocated).toBeLessThanOrEqual(DATA_BYTES + ROUNDING);
}

async function part(file: Awaited<ReturnType<typeof open>>, offset: number, length: number): Promise<Buffer> {
  return (await file.read(Buffer.alloc(length), 0, length, offset)).buffer;
}

const expectExtentCopy = ({ reflinked, copiedBytes }: DirectoryCopyCost): void => {
  expect(reflinked).toBe(false);
  expect(copiedBytes).toBeGreaterThanOrEqual(DATA_BYTES);
  expect(copiedBytes).toBeLessThanOrEqual(DATA_BYTES + ROUNDING);
};

/** By the filesystem's own list of extents. */
const isShared = async (path: string): Promise<boolean> =>
  (await execa('filefrag', ['-v', path])).stdout.includes('shared');

const REFLINKS: Record<'tmpfs' | 'ext4' | 'xfs' | 'btrfs', boolean> = {
  tmpfs: false,
  ext4: false,
  xfs: true,
  btrfs: true,
};
const TYPES = Object.keys(REFLINKS) as (keyof typeof REFLINKS)[];

describe.each(TYPES)('a copy of a directory on %s', (type) => {
  describeOn('in one filesystem', [type], (mounted) => {
    it(REFLINKS[type] ? 'shares all blocks' : 'copies the extents with data alone', async () => {
      const source = join(mounted().path, 'source');
      const copy = join(mounted().path, 'copy');
      await writeTree(source);
      const before = await statfs(mounted().path);
      const cost = await copyDirectory(source, copy, { durable: true });
      const after = await statfs(mounted().path);
      await expectSame(source, copy);
      expect(cost.files).toBe(Object.keys(FILES).length);
      const taken = (before.bfree - after.bfree) * after.bsize;
      if (REFLINKS[type]) {
        expect(cost).toMatchObject({ reflinked: true, copiedBytes: 0 });
        expect(taken).toBeLessThan(MIB);
        expect(await isShared(join(copy, 'inner/dense'))).toBe(true);
      } else {
        expectExtentCopy(cost);
        expect(taken).toBeLessThan(DATA_BYTES + ROUNDING + MIB);
      }
    });

    it('has as few blocks when no reflink is tried: 128 KiB at most for 8 KiB in 1 GiB', async () => {
      const source = join(mounted().path, 'disk');
      const copy = join(mounted().path, 'disk-copy');
      const data = randomBytes(8 * KIB);
      {
        await using file = await open(source, 'wx');
        await file.truncate(GIB);
        await file.write(data, 0, data.length, 512 * MIB);
      }
      const { copiedBytes } = await copyExtents(source, copy);
      const { size, blocks } = await stat(copy);
      expect(size).toBe(GIB);
      expect(Math.max(copiedBytes, blocks * 512)).toBeLessThanOrEqual(128 * KIB);
      await using file = await open(copy);
      expect((await part(file, 512 * MIB, data.length)).equals(data)).toBe(true);
    });
  });

  const other = TYPES[(TYPES.indexOf(type) + 1) % TYPES.length]!;
  describeOn(`to ${other}`, [type, other], (mounted) => {
    it('copies the extents with data alone', async () => {
      const source = join(mounted(0).path, 'source');
      const copy = join(mounted(1).path, 'copy');
      await writeTree(source);
      expectExtentCopy(await copyDirectory(source, copy, { durable: true }));
      await expectSame(source, copy);
    });
  });

  describeOn('to another of its kind', [type, type], (mounted) => {
    it('copies the extents with data alone', async () => {
      const source = join(mounted(0).path, 'source');
      const copy = join(mounted(1).path, 'copy');
      await writeTree(source);
      expectExtentCopy(await copyDirectory(source, copy, { durable: false }));
      await expectSame(source, copy);
    });
  });
});
