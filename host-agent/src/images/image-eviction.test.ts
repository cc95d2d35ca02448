import { link, mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseImageId, type ImageId } from '../domain/ids.js';
import { ImageRemoval } from './image-removal.js';
import { LocalImageStore } from './local-image-store.js';
import { NO_KEEPING, placeImageOfTest } from './testing/image-of-test.js';
import { LockedElsewhere } from './testing/locked-elsewhere.js';

const A = parseImageId('a'.repeat(64));
const B = parseImageId('b'.repeat(64));
const C = parseImageId('c'.repeat(64));
const logger = pino({ level: 'silent' });

describe('images that take more than they may', () => {
  const KIB = 1024;
  let images: string;
  let store: LocalImageStore;
  let used: Map<ImageId, string>;
  let inUse: Set<ImageId>;
  beforeEach(async () => {
    images = await mkdtemp(join(tmpdir(), 'ofs-'));
    used = new Map();
    inUse = new Set();
    for (const [id, name, day] of [
      [A, 'a', 1],
      [B, 'b', 2],
      [C, 'c', 3],
    ] as const)
      await placeImageOfTest(images, {
        id,
        name,
        createdAt: `2026-01-0${String(day)}T00:00:00.000Z`,
        diskBytes: 400 * KIB,
      });
    store = new LocalImageStore({
      ...NO_KEEPING,
      imagesDirectory: images,
      cacheDirectory: join(images, 'cache'),
      assetsDirectory: images,
      agentBundle: images,
      logger,
    });
  });
  afterEach(async () => {
    await rm(images, { recursive: true });
  });

  /** What is left when there may be so many bytes. */
  async function evict(maxBytes: number, isKept: (id: ImageId) => boolean = () => false): Promise<string[]> {
    const removal = new ImageRemoval({
      directory: images,
      maxBytes,
      usersOf: (id) => ({ instances: inUse.has(id) ? ['vm'] : [], snapshots: [], daemons: [] }),
      lastUse: (id) => used.get(id),
      forgetDisks: () => Promise.resolve(),
      logger,
    });
    await removal.evict(await store.list(), ({ id }) => isKept(id));
    return (await readdir(images)).map((name) => name.slice(0, 1)).sort();
  }

  it('stay all where there is no limit, or room', async () => {
    expect(await evict(0)).toEqual(['a', 'b', 'c']);
    expect(await evict(2000 * KIB)).toEqual(['a', 'b', 'c']);
  });

  it('go by their last use, or else by their age, until the others fit', async () => {
    used.set(A, '2026-02-01T00:00:00.000Z');
    expect(await evict(1000 * KIB)).toEqual(['a', 'c']);
    expect(await evict(500 * KIB)).toEqual(['a']);
  });

  it('stay where somebody uses them, in another process too, or has just made them', async () => {
    inUse.add(A);
    expect(await evict(1000 * KIB)).toEqual(['a', 'c']);
    expect(await evict(1, (id) => id === C)).toEqual(['a', 'c']);
    inUse.clear();
    using _reader = await LockedElsewhere.take(join(images, A), '--shared');
    expect(await evict(1)).toEqual(['a']);
  });

  it('count what they take on the disk, holes not, and what several have in common once', async () => {
    for (const id of [A, B, C]) {
      await rm(join(images, id, 'vmlinux'));
      if (id !== A) await link(join(images, A, 'vmlinux'), join(images, id, 'vmlinux'));
      // As many bytes as the images' records say.
      else await writeFile(join(images, id, 'vmlinux'), 'vmlinux');
    }
    const disk = join(images, C, 'rootfs.ext4');
    await truncate(disk, 0);
    await truncate(disk, 400 * KIB);
    expect(store.usageOf(C).allocatedBytes).toBeLessThan(100 * KIB);
    // Two disks of 400 KiB, and small files: less than 8 * 4 * 3 KiB.
    expect(await evict(896 * KIB)).toEqual(['a', 'b', 'c']);
    expect(await evict(780 * KIB)).toEqual(['b', 'c']);
  });
});
