import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { StorageLab, StorageSubject } from '../../testing/storage-lab.js';
import { openZfs } from '../open-zfs.js';
import { LocalZfs, type ZfsProgram } from '../zfs-program.js';
import { TestPool, beyondBases, missingForPools } from './test-pool.js';
import { ZfsDouble } from './zfs-double.js';

const POOL_BYTES = 512 * 2 ** 20;

async function newFolders(): Promise<{ directory: string; root: string; images: string }> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'zfs-lab-')));
  const root = join(directory, 'state');
  const images = join(root, 'images');
  await mkdir(images, { recursive: true });
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

/** Who runs the commands of ZFS for a daemon with this dataset and these folders. */
export type ZfsRunner = (place: {
  readonly dataset: string;
  /** Of a test's own, with the others in it. */
  readonly directory: string;
  readonly root: string;
}) => Promise<AsyncDisposable & { readonly program: ZfsProgram }>;

const itself: ZfsRunner = () =>
  Promise.resolve({ program: new LocalZfs(), [Symbol.asyncDispose]: () => Promise.resolve() });

/** A real pool. @param missing what else of the machine the runner takes; empty where nothing */
export const zfsPool = (title: string, missing = '', runner = itself): StorageSubject => ({
  title,
  missing: missingForPools() || missing,
  // In the lab host, where the machine is emulated, sudo and Node alone take seconds.
  isSlow: runner !== itself,
  open: async (): Promise<StorageLab> => {
    const { directory, root, images } = await newFolders();
    // Tests write the same byte over and over, which would take no room.
    const pool = await TestPool.open(POOL_BYTES, ['compression=off']);
    const { dataset } = pool;
    let running: Awaited<ReturnType<ZfsRunner>> | undefined;
    const remove = async (): Promise<void> => {
      await running?.[Symbol.asyncDispose]();
      await pool[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    };
    try {
      running = await runner({ dataset, directory, root });
      return {
        storage: await openZfs({ dataset, stateDirectory: root, program: running.program }),
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
          await execa('zpool', ['sync', pool.name]);
        },
        elsewhere: () => pool.disks(),
        [Symbol.asyncDispose]: remove,
      };
    } catch (error) {
      await remove();
      throw error;
    }
  },
});
