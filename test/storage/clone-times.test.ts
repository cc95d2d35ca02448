import { createHash } from 'node:crypto';
import { mkdir, open, rm, stat, statfs } from 'node:fs/promises';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MountLab, missingFor, type MountedFilesystem } from '../../host-agent/src/os/testing/mount-lab.js';
import { CapturePaths } from '../../host-agent/src/paths.js';
import { RawDisks } from '../../host-agent/src/storage/raw-disks.js';
import { timeInTurn } from '../harness/time-in-turn.js';

const [MIB, GIB] = [2 ** 20, 2 ** 30];
const DISK_BYTES = 10 * GIB;
const PIECES = 200;

/** In a test run a few show that clones are what they should be; OFFSHOOT_CLONE_ROUNDS=20 is a measurement. */
const ROUNDS = Number(process.env.OFFSHOOT_CLONE_ROUNDS ?? '2');

/** What coreutils does: by itself, which shares blocks where it can, and with every byte of data copied. */
const CP = { cp: ['--sparse=auto'], 'cp, copying': ['--sparse=auto', '--reflink=never'] } as const;

const DISKS = [
  { storage: 'reflink', type: 'xfs', ownMib: 1 },
  { storage: 'sparse', type: 'ext4', ownMib: PIECES + 1 },
] as const;

/** 200 pieces of 1 MiB all over it, each other bytes: a disk that a guest has used, most of which is holes. */
async function writeDisk(path: string): Promise<void> {
  await using file = await open(path, 'wx');
  await file.truncate(DISK_BYTES);
  for (let n = 0; n < PIECES; n++) await file.write(piece(n), 0, MIB, placeOf(n));
  await file.sync();
}

const piece = (n: number): Buffer => Buffer.alloc(MIB, createHash('sha256').update(String(n)).digest());
const placeOf = (n: number): number => Math.floor((n * DISK_BYTES) / PIECES);

for (const { storage, type, ownMib } of DISKS) {
  const missing = missingFor(type);
  const lacks = missing === '' ? '' : ` (skipped: ${missing})`;
  describe.skipIf(missing !== '')(`a disk of 10 GiB with 200 MiB of data, on ${type}${lacks}`, () => {
    let mounts: MountLab;
    let filesystem: MountedFilesystem;
    let source: CapturePaths;
    let clone: CapturePaths;
    beforeAll(async () => {
      mounts = await MountLab.open();
      // Room for the disk and one copy, and none for a copy of its holes.
      filesystem = await mounts.mount(type, '', GIB);
      const { path } = filesystem;
      [source, clone] = [new CapturePaths(`${path}/source`), new CapturePaths(`${path}/clone`)];
      for (const { root } of [source, clone]) await mkdir(root);
      await writeDisk(source.disk('raw'));
    });
    afterEach(() => rm(clone.disk('raw'), { force: true }));
    afterAll(() => mounts[Symbol.asyncDispose]());

    it(`is cloned by ${storage} as it is, data and holes`, async () => {
      await new RawDisks(storage).clone(source, clone);
      const { size, blocks } = await stat(clone.disk('raw'));
      expect(size).toBe(DISK_BYTES);
      expect(blocks * 512).toBeLessThanOrEqual((PIECES + 1) * MIB);
      await using file = await open(clone.disk('raw'));
      for (let n = 0; n < PIECES; n++) {
        const { buffer } = await file.read(Buffer.alloc(MIB), 0, MIB, placeOf(n));
        expect(buffer.equals(piece(n)), `piece ${String(n)}`).toBe(true);
      }
    });

    it(`takes at most ${String(ownMib)} MiB more for its clone`, async () => {
      // Mounted anew: what a file system sets aside for a file that was just written counts as taken until then.
      const free = async (): Promise<number> => {
        await mounts.remount(filesystem);
        // Not df: it looks the path up in its own mount namespace, and tells of the file system that is there.
        const { bavail, bsize } = await statfs(source.root);
        return bavail * bsize;
      };
      const before = await free();
      await new RawDisks(storage).clone(source, clone);
      expect(before - (await free())).toBeLessThanOrEqual(ownMib * MIB);
    });

    it('is cloned in a time that is told beside that of cp', async () => {
      const ways: Record<string, () => Promise<unknown>> = {
        offshoot: () => new RawDisks(storage).clone(source, clone),
        ...Object.fromEntries(
          Object.entries(CP).map(([name, options]) => [
            name,
            () => execa('cp', [...options, source.disk('raw'), clone.disk('raw')]),
          ]),
        ),
      };
      const told = await timeInTurn(ways, ROUNDS, async () => {
        await rm(clone.disk('raw'));
        await execa('sync', ['-f', source.root]); // what one has written is not written while the next is timed
      });
      console.log(`${storage} on ${type}, ${told}`);
    });
  });
}
