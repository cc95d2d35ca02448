import { mkdir, mkdtemp, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Capacity } from '@offshoot/shared/errors.js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseImageId } from '../../domain/ids.js';
import { asCapacityIfFull } from '../../os/disk-space.js';
import { CapturePaths } from '../../paths.js';
import type { DiskImage, DiskStorage } from '../../ports/disk-storage.js';
import { DiskContent, STRETCH } from './disk-content.js';
import type { StorageLab, StorageSubject } from './storage-lab.js';

const MIB = 2 ** 20;
const [IN_IMAGE, IN_HOLE] = [8 * MIB, 24 * MIB];

/** What every disk storage promises, whatever it is kept in. */
export function describeDiskStorage(subject: StorageSubject): void {
  const { title, missing, isSlow = false } = subject;
  const name = `the disk storage ${title}${missing && ` (skipped: ${missing})`}`;
  // File systems are made full and written through to their devices, which takes as long as it takes.
  describe.skipIf(missing !== '')(name, { timeout: isSlow ? 900_000 : 60_000 }, () => {
    let lab: StorageLab;
    let storage: DiskStorage;
    let content: DiskContent;
    let image: DiskImage;
    /** Of one test. */
    let root: string;
    beforeAll(async () => {
      lab = await subject.open();
      ({ storage } = lab);
      content = new DiskContent(storage);
      image = await newImage('1', MIB);
    }, 60_000);
    afterAll(() => lab[Symbol.asyncDispose]());
    beforeEach(async () => {
      root = await mkdtemp(join(lab.root, 'test-'));
    });
    afterEach(async () => {
      for (const name of await readdir(root)) await storage.destroy(new CapturePaths(join(root, name)));
      expect(await lab.elsewhere()).toEqual([]);
      await rm(root, { recursive: true });
    });

    /** 32 MiB, of which `dataBytes` from 8 MiB on are not zero. */
    async function newImage(digit: string, dataBytes: number): Promise<DiskImage> {
      const rootDisk = join(lab.images, `image-${digit}`);
      await using file = await open(rootDisk, 'wx', 0o444);
      await file.truncate(32 * MIB);
      await file.write(Buffer.alloc(dataBytes, 0x11), 0, dataBytes, IN_IMAGE);
      return { id: parseImageId(digit.repeat(64)), rootDisk };
    }
    async function newFolder(name: string): Promise<CapturePaths> {
      const folder = new CapturePaths(join(root, name));
      await mkdir(folder.root);
      return folder;
    }
    async function newDisk(name: string): Promise<CapturePaths> {
      const folder = await newFolder(name);
      await storage.create(image, folder);
      return folder;
    }
    /** Nobody reads a moment itself: what counts is what is made of it. */
    async function momentHolds(moment: CapturePaths, value: number, offset: number): Promise<boolean> {
      const clone = await newFolder('read');
      await storage.clone(moment, clone);
      const found = await content.holds(clone, value, offset);
      await storage.destroy(clone);
      await rm(clone.root, { recursive: true });
      return found;
    }
    /** After something went wrong: whatever it left goes with the disk. */
    async function expectNothingLeft(folder: CapturePaths): Promise<void> {
      await storage.destroy(folder);
      expect(await readdir(folder.root)).toEqual([]);
    }

    it('gives a new disk the content of its image, which stays as it is, and no more room than its data', async () => {
      const disk = await newDisk('disk');
      expect(await content.holds(disk, 0x11, IN_IMAGE)).toBe(true);
      expect(await content.holds(disk, 0, IN_HOLE)).toBe(true);
      await content.write(disk, 0xa1, IN_IMAGE);
      await content.write(disk, 0xa2, IN_HOLE);
      expect(await content.holds(disk, 0xa1, IN_IMAGE)).toBe(true);
      expect(await content.holds(disk, 0xa2, IN_HOLE)).toBe(true);
      expect(await content.holds(await newDisk('another'), 0x11, IN_IMAGE)).toBe(true);
      const { ownBytes, sharedBytes } = await storage.usage(disk);
      expect(ownBytes + sharedBytes).toBeLessThan(3 * MIB);
    });

    it('says beforehand what a clone will copy', async () => {
      const disk = await newDisk('disk');
      await content.write(disk, 0xa1, IN_HOLE);
      await storage.flush(disk);
      const room = await storage.roomForClone(disk);
      const { copiedBytes } = await storage.clone(disk, await newFolder('fork'));
      expect(copiedBytes).toBeLessThanOrEqual(room);
      expect(room - copiedBytes).toBeLessThan(MIB);
    });

    it('gives a new disk another size than its image and other content, before anybody reads it', async () => {
      const disk = await newFolder('disk');
      const changes = [
        { offset: IN_IMAGE, value: 0 },
        { offset: IN_IMAGE + MIB / 2, value: 0xa1 },
        { offset: IN_HOLE, value: 0xb2 },
        { offset: 47 * MIB, value: 0xc3 },
      ];
      await storage.create(image, disk, undefined, {
        bytes: 48 * MIB,
        change: async (raw) => {
          await using file = await open(raw, 'r+');
          // Of a device stat(2) tells no size.
          for (const [offset, bytesRead] of [
            [48 * MIB - 1, 1],
            [48 * MIB, 0],
          ] as const)
            expect(await file.read(Buffer.alloc(1), 0, 1, offset)).toMatchObject({ bytesRead });
          for (const { offset, value } of changes) await file.write(Buffer.alloc(STRETCH, value), 0, STRETCH, offset);
        },
      });
      const fork = await newFolder('fork');
      await storage.clone(disk, fork);
      for (const each of [disk, fork]) {
        for (const { offset, value } of changes) expect(await content.holds(each, value, offset)).toBe(true);
        expect(await content.holds(each, 0x11, IN_IMAGE + MIB - STRETCH)).toBe(true);
        expect(await content.holds(each, 0, 48 * MIB - STRETCH)).toBe(true);
      }
      await content.write(disk, 0xd4, 48 * MIB - STRETCH);
      expect(await content.holds(disk, 0xd4, 48 * MIB - STRETCH)).toBe(true);
      expect(await content.holds(await newDisk('another'), 0x11, IN_IMAGE)).toBe(true);
      const { ownBytes, sharedBytes } = await storage.usage(disk);
      expect(ownBytes + sharedBytes).toBeLessThan(4 * MIB);
    });

    it('makes nothing of a disk whose change fails, or whose caller goes meanwhile', async () => {
      const folder = await newFolder('folder');
      const caller = new AbortController();
      const failing = [
        { signal: undefined, change: () => Promise.reject(new Error('no such change')), says: 'no such change' },
        {
          signal: caller.signal,
          change: () => {
            caller.abort(new Error('gone'));
            return Promise.reject(caller.signal.reason as Error);
          },
          says: 'gone',
        },
      ];
      for (const { signal, change, says } of failing) {
        await expect(storage.create(image, folder, signal, { bytes: 32 * MIB, change })).rejects.toThrow(says);
        await expectNothingLeft(folder);
      }
      await storage.create(image, folder);
      expect(await content.holds(folder, 0x11, IN_IMAGE)).toBe(true);
    });

    it('keeps a moment of a disk that is written again, flushed or not', async () => {
      const [disk, moment] = [await newDisk('disk'), await newFolder('moment')];
      await content.write(disk, 0xa1, IN_IMAGE);
      await storage.flush(disk);
      const cost = await storage.snapshot(disk, moment);
      expect(cost.ms).toBeGreaterThan(0);
      expect(cost.reflinked ? cost.copiedBytes : 0).toBe(0);
      await content.write(disk, 0xb2, IN_IMAGE);
      expect(await momentHolds(moment, 0xa1, IN_IMAGE)).toBe(true);
      await storage.snapshot(disk, await newFolder('next'));
      await content.write(disk, 0xc3, IN_IMAGE);
      const fork = await newFolder('fork');
      await storage.clone(new CapturePaths(join(root, 'next')), fork);
      expect(await content.holds(fork, 0xb2, IN_IMAGE)).toBe(true);
    });

    it('makes any number of disks of a moment, each written apart', async () => {
      const [disk, moment] = [await newDisk('disk'), await newFolder('moment')];
      await content.write(disk, 0xa1, IN_IMAGE);
      await storage.flush(disk);
      await storage.snapshot(disk, moment);
      const forks = await Promise.all(['one', 'two', 'three'].map(newFolder));
      await Promise.all(forks.map((fork) => storage.clone(moment, fork)));
      for (const [i, fork] of forks.entries()) await content.write(fork, i + 1, IN_IMAGE);
      for (const [i, fork] of forks.entries()) expect(await content.holds(fork, i + 1, IN_IMAGE)).toBe(true);
      expect(await momentHolds(moment, 0xa1, IN_IMAGE)).toBe(true);
      expect(await content.holds(disk, 0xa1, IN_IMAGE)).toBe(true);
    });

    it('clones a disk at rest, and clones of clones', async () => {
      let disk = await newDisk('disk');
      for (const generation of [1, 2, 3, 4]) {
        await content.write(disk, generation, IN_HOLE + generation * MIB);
        await storage.flush(disk);
        const next = await newFolder(`generation-${String(generation)}`);
        await storage.clone(disk, next);
        disk = next;
      }
      for (const generation of [1, 2, 3, 4])
        expect(await content.holds(disk, generation, IN_HOLE + generation * MIB)).toBe(true);
    });

    // Of the 24 the slow try four, which each begin with another one.
    it.each(permutations(['source', 'moment', 'fork', 'twin']).filter((_, n) => !isSlow || n % 7 === 0))(
      'lets its disks go in any order: %s, %s, %s, %s',
      async (...order) => {
        const source = await newDisk('source');
        await content.write(source, 0xa1, IN_HOLE);
        await storage.flush(source);
        const [moment, fork, twin] = [await newFolder('moment'), await newFolder('fork'), await newFolder('twin')];
        await storage.snapshot(source, moment);
        await storage.clone(moment, fork);
        await storage.clone(source, twin);
        const left = new Set(order);
        for (const name of order) {
          await storage.destroy(new CapturePaths(join(root, name)));
          left.delete(name);
          for (const other of left)
            expect(
              await (other === 'moment' ? momentHolds : content.holds.bind(content))(
                new CapturePaths(join(root, other)),
                0xa1,
                IN_HOLE,
              ),
              other,
            ).toBe(true);
        }
        for (const name of order) expect(await readdir(join(root, name))).toEqual([]);
      },
    );

    it('removes what is not there, and again', async () => {
      const folder = await newFolder('empty');
      await storage.destroy(folder);
      await storage.destroy(new CapturePaths(join(root, 'no-folder')));
      const disk = await newDisk('disk');
      await storage.destroy(disk);
      await storage.destroy(disk);
      expect(await storage.usage(disk)).toEqual({ ownBytes: 0, sharedBytes: 0 });
    });

    it('makes nothing of a source or an image that is missing', async () => {
      const [source, folder] = [await newFolder('no-disk'), await newFolder('folder')];
      await expect(storage.clone(source, folder)).rejects.toThrow();
      await expectNothingLeft(folder);
      await expect(storage.snapshot(source, folder)).rejects.toThrow();
      await expectNothingLeft(folder);
      const missingImage = { id: parseImageId('f'.repeat(64)), rootDisk: join(lab.images, 'missing') };
      await expect(storage.create(missingImage, folder)).rejects.toThrow('ENOENT');
      await expectNothingLeft(folder);
      await expect(storage.flush(folder)).rejects.toThrow('ENOENT');
    });

    it('never puts a disk in the place of another', async () => {
      const [one, two] = [await newDisk('one'), await newDisk('two')];
      await content.write(one, 0xa1, IN_HOLE);
      await content.write(two, 0xb2, IN_HOLE);
      await expect(storage.clone(one, two)).rejects.toThrow('EEXIST');
      await expect(storage.snapshot(one, two)).rejects.toThrow('EEXIST');
      await expect(storage.create(image, two)).rejects.toThrow('EEXIST');
      expect(await content.holds(two, 0xb2, IN_HOLE)).toBe(true);
    });

    it('makes nothing for a caller that has gone', async () => {
      const [disk, folder] = [await newDisk('disk'), await newFolder('folder')];
      const gone = AbortSignal.abort(new Error('gone'));
      await expect(storage.clone(disk, folder, gone)).rejects.toThrow('gone');
      await expectNothingLeft(folder);
      await expect(storage.snapshot(disk, folder, gone)).rejects.toThrow('gone');
      await expectNothingLeft(folder);
      await expect(storage.create(image, folder, gone)).rejects.toThrow('gone');
      await expectNothingLeft(folder);
    });

    it('makes a disk whole or leaves nothing of it, when the caller goes meanwhile', async () => {
      const large = await newImage('2', 20 * MIB);
      const disk = await newFolder('disk');
      await storage.create(large, disk);
      for (const turns of [1, 2, 4, 8]) {
        const folder = await newFolder(`after-${String(turns)}`);
        const caller = new AbortController();
        const cloning = storage.clone(disk, folder, caller.signal).then(
          () => true,
          (error: unknown) => (error as Error).message,
        );
        for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
        caller.abort(new Error('gone'));
        const outcome = await cloning;
        if (outcome === true) expect(await content.holds(folder, 0x11, IN_IMAGE + 19 * MIB)).toBe(true);
        else {
          expect(outcome).toBe('gone');
          await expectNothingLeft(folder);
          await storage.clone(disk, folder);
        }
      }
      await rm(large.rootDisk);
    });

    it('says that there is no room, leaves nothing, and goes on once there is', async () => {
      const large = await newImage('3', 20 * MIB);
      const folder = await newFolder('folder');
      {
        await using _filler = await lab.fill();
        const error: unknown = await storage.create(large, folder).catch((thrown: unknown) => thrown);
        expect(asCapacityIfFull(error)).toBeInstanceOf(Capacity);
        await expectNothingLeft(folder);
      }
      await storage.create(large, folder);
      expect(await content.holds(folder, 0x11, IN_IMAGE + 19 * MIB)).toBe(true);
      await rm(large.rootDisk);
    });

    it('tells what a disk takes, of its own and with others', async () => {
      const disk = await newDisk('disk');
      await storage.flush(disk);
      await lab.sync();
      const before = await storage.usage(disk);
      await content.write(disk, 0xa1, IN_HOLE, 2 * MIB);
      await storage.flush(disk);
      await lab.sync();
      const after = await storage.usage(disk);
      expect(after.ownBytes - before.ownBytes).toBeGreaterThan(MIB);
      expect(after.ownBytes - before.ownBytes).toBeLessThan(4 * MIB);
    });

    it('sweeps disks that no folder has, and no other', async () => {
      const [kept, lost] = [await newDisk('kept'), await newDisk('lost')];
      await content.write(kept, 0xa1, IN_HOLE);
      const moment = await newFolder('moment');
      await storage.flush(lost);
      await storage.snapshot(lost, moment);
      await rm(lost.root, { recursive: true });
      await storage.sweep([kept, moment]);
      expect(await content.holds(kept, 0xa1, IN_HOLE)).toBe(true);
      expect(await momentHolds(moment, 0x11, IN_IMAGE)).toBe(true);
      for (const folder of [kept, moment]) await storage.destroy(folder);
      expect(await lab.elsewhere()).toEqual([]);
    });

    it('settles a disk that is whole as it is', async () => {
      const disk = await newDisk('disk');
      await content.write(disk, 0xa1, IN_HOLE);
      await storage.settle(disk);
      expect(await content.holds(disk, 0xa1, IN_HOLE)).toBe(true);
      await writeFile(join(disk.root, 'notes'), 'of the operator');
      await storage.destroy(disk);
      expect(await readdir(disk.root)).toEqual(['notes']);
      expect((await stat(join(disk.root, 'notes'))).size).toBe(15);
    });
  });
}

function permutations<Thing>(things: readonly Thing[]): Thing[][] {
  if (things.length <= 1) return [[...things]];
  return things.flatMap((first) =>
    permutations(things.filter((thing) => thing !== first)).map((rest) => [first, ...rest]),
  );
}
