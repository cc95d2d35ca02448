import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa, execaSync } from 'execa';
import type { StorageLab, StorageSubject } from '../../testing/storage-lab.js';
import { openZfs } from '../open-zfs.js';
import type { ZfsProgram } from '../zfs-program.js';
import { ZfsDouble } from './zfs-double.js';

const POOL_BYTES = 512 * 2 ** 20;

async function newFolders(): Promise<{ directory: string; root: string; images: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'zfs-lab-'));
  const [root, images] = [join(directory, 'state'), join(directory, 'images')];
  await Promise.all([mkdir(root), mkdir(images)]);
  return { directory, root, images };
}

/** The storage against a double of ZFS, on any machine. @param through what its commands go through */
export const zfsDouble = (title: string, through: (double: ZfsProgram) => ZfsProgram): StorageSubject => ({
  title,
  missing: '',
  open: async (): Promise<StorageLab> => {
    const { directory, root, images } = await newFolders();
    const [devices, store] = [join(directory, 'devices'), join(directory, 'store')];
    await Promise.all([mkdir(devices), mkdir(store)]);
    const program = new ZfsDouble('pool/offshoot', devices, store);
    const patience = { tries: 1, ms: 0 };
    const storage = await openZfs({
      dataset: 'pool/offshoot',
      stateDirectory: root,
      program: through(program),
      devices: program.deviceNames,
      patience,
    });
    return {
      storage,
      root,
      images,
      fill: () => {
        const before = program.availableBytes;
        program.availableBytes = 1024;
        return Promise.resolve({
          [Symbol.asyncDispose]: () => {
            program.availableBytes = before;
            return Promise.resolve();
          },
        });
      },
      sync: () => Promise.resolve(),
      elsewhere: () => Promise.resolve(beyondBases([...program.datasets.keys(), ...program.snapshots.keys()])),
      [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
    };
  },
});

export const ZFS_DOUBLE = zfsDouble('zfs, against a double', (double) => double);

/** A pool in a file. */
export const ZFS_POOL: StorageSubject = {
  title: 'zfs, on a pool',
  missing: missingForPools(),
  open: async (): Promise<StorageLab> => {
    const { directory, root, images } = await newFolders();
    const pool = `offshoot-test-${randomBytes(4).toString('hex')}`;
    const file = join(directory, 'pool');
    const dataset = `${pool}/offshoot`;
    try {
      await writeFile(file, '');
      await truncate(file, POOL_BYTES);
      // Tests write the same byte over and over, which would take no room.
      await execa('zpool', ['create', '-m', 'none', '-O', 'compression=off', '-R', directory, pool, file]);
      await execa('zfs', ['create', '-o', 'mountpoint=none', dataset]);
      return {
        storage: await openZfs({ dataset, stateDirectory: root }),
        root,
        images,
        fill: async () => {
          const { stdout } = await execa('zfs', ['list', '-H', '-p', '-o', 'used', dataset]);
          await execa('zfs', ['set', `quota=${String(Number(stdout) + 2 ** 20)}`, dataset]);
          return {
            [Symbol.asyncDispose]: async () => {
              await execa('zfs', ['set', 'quota=none', dataset]);
            },
          };
        },
        // What was written counts once its transaction group is written.
        sync: async () => {
          await execa('zpool', ['sync', pool]);
        },
        elsewhere: async () => {
          const { stdout } = await execa('zfs', ['list', '-H', '-r', '-t', 'all', '-o', 'name', dataset]);
          return beyondBases(stdout.split('\n'));
        },
        [Symbol.asyncDispose]: () => remove(pool, directory),
      };
    } catch (error) {
      await remove(pool, directory);
      throw error;
    }
  },
};

async function remove(pool: string, directory: string): Promise<void> {
  await execa('zpool', ['destroy', '-f', pool], { reject: false });
  await rm(directory, { recursive: true });
}

function missingForPools(): string {
  if (process.getuid?.() !== 0) return 'root';
  for (const program of ['zpool', 'zfs'])
    if (execaSync(program, ['version'], { reject: false }).failed) return `${program}, or ZFS in the kernel`;
  return '';
}

/** Bases stay for the next disk of their image. */
const beyondBases = (names: readonly string[]): string[] =>
  names.filter((name) => /\/(instances|snapshots)\//.test(name));
