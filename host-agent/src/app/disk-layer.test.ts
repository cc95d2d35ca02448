import { pino } from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import type { DriverName } from '../domain/driver-capabilities.js';
import { mintInstanceId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { StorageName } from '../domain/storage-name.js';
import { StatePaths } from '../paths.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import type { Vm } from '../ports/driver.js';
import type { InstanceStore } from '../ports/instance-store.js';
import { layDisk, layRestingDisk, settleDisk } from './disk-layer.js';
import { DiskStorages } from './disk-storages.js';
import { Locks } from './locks.js';

const never = new AbortController().signal;

describe('a layer before a capture', () => {
  /** What was asked of storage and VM, in order. */
  let asked: string[];
  let needsLayer: boolean;
  /** To the next questions whether it does. */
  let answers: boolean[];
  let layingFails: boolean;
  beforeEach(() => {
    [asked, answers] = [[], []];
    [needsLayer, layingFails] = [true, false];
  });

  const storage = (name: StorageName): DiskStorage =>
    ({
      name,
      needsLayer: () => Promise.resolve(answers.shift() ?? needsLayer),
      prepareLayer: () => {
        asked.push('prepare');
        return Promise.resolve('/new-top');
      },
      settle: (_folder, openFile) => {
        asked.push(`settle ${openFile ?? 'at rest'}`);
        return Promise.resolve();
      },
    }) as Partial<DiskStorage> as DiskStorage;
  const vm = {
    diskFile: () => Promise.resolve('/open'),
    layDisk: (file: string) => {
      asked.push(`lay ${file}`);
      return layingFails ? Promise.reject(new Error('no')) : Promise.resolve();
    },
  } as Partial<Vm> as Vm;
  const context = {
    disks: new DiskStorages([storage('overlay'), storage('sparse')]),
    paths: new StatePaths('/state'),
    logger: pino({ level: 'silent' }),
    merger: {
      consider: () => {
        asked.push('consider merging');
      },
    },
  };
  const instance = (driver: DriverName, state: Instance['state'] = 'RUNNING'): Instance =>
    ({ id: mintInstanceId(), name: 'vm', driver, storage: 'overlay', state }) as Instance;

  it('is put on a disk that needs one, between two looks at what its VMM writes to', async () => {
    await layDisk(context, instance('qemu'), vm, never);
    expect(asked).toEqual(['settle /open', 'prepare', 'lay /new-top', 'settle /open', 'consider merging']);
  });

  it('is not put where none is needed', async () => {
    needsLayer = false;
    await layDisk(context, instance('qemu'), vm, never);
    expect(asked).toEqual(['settle /open']);
  });

  it('is undone where the VMM did not take it', async () => {
    layingFails = true;
    await expect(layDisk(context, instance('qemu'), vm, never)).rejects.toThrow('no');
    expect(asked).toEqual(['settle /open', 'prepare', 'lay /new-top', 'settle /open']);
  });

  it.each(['cloud-hypervisor', 'firecracker'] as const)('is never asked of %s, which cannot', async (driver) => {
    await layDisk(context, instance(driver), vm, never);
    expect(asked).toEqual([]);
  });

  it('is refused before anything is touched where the storage is not here', async () => {
    const moved = { ...instance('qemu'), storage: 'zfs' } as const;
    await expect(layDisk(context, moved, vm, never)).rejects.toMatchObject({ reason: 'STORAGE_MISMATCH' });
    expect(asked).toEqual([]);
    await settleDisk(context, moved, vm); // logged
  });

  describe('of an instance at rest', () => {
    const locks = new Locks();
    const layAtRest = (resting: Instance): Promise<void> =>
      layRestingDisk(
        { ...context, locks, store: { byId: () => resting } as Partial<InstanceStore> as InstanceStore },
        resting.id,
        never,
      );

    it.each(['STANDBY', 'STOPPED'] as const)('is put on its disk: %s', async (state) => {
      await layAtRest(instance('qemu', state));
      expect(asked).toEqual(['prepare', 'settle at rest', 'consider merging']);
    });

    it('is not put on the disk of one that runs, or needs none', async () => {
      await layAtRest(instance('qemu', 'RUNNING'));
      needsLayer = false;
      await layAtRest(instance('qemu', 'STOPPED'));
      expect(asked).toEqual([]);
    });

    it('is not put where another call has put one while this one waited for the lock', async () => {
      answers.push(true, false);
      await layAtRest(instance('qemu', 'STOPPED'));
      expect(asked).toEqual([]);
    });

    it.each(['cloud-hypervisor', 'firecracker'] as const)('is not for %s, which would not find it', async (driver) => {
      await layAtRest(instance(driver, 'STOPPED'));
      expect(asked).toEqual([]);
    });
  });
});
