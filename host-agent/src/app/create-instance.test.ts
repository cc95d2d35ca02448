import { existsSync } from 'node:fs';
import { NotFound } from '@offshoot/shared/errors.js';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DRIVER_CAPABILITIES } from '../domain/driver-capabilities.js';
import { parseImageId, type ImageId } from '../domain/ids.js';
import type { DiskRoom, DiskStorage } from '../ports/disk-storage.js';
import type { HypervisorDriver } from '../ports/driver.js';
import type { Image, ImageStore } from '../ports/image-store.js';
import type { Network } from '../ports/network.js';
import { freeBytes } from '../os/disk-space.js';
import { StateLab } from '../state/testing/state-lab.js';
import type { CreateInstanceCommand } from './commands.js';
import type { Context } from './context.js';
import { createInstance } from './create-instance.js';
import { DiskStorages } from './disk-storages.js';
import { MemoryBudget } from './memory-budget.js';

const image = { id: parseImageId('ab'.repeat(32)), diskBytes: 2 ** 29 } as Partial<Image> as Image;
const command: CreateInstanceCommand = {
  name: 'vm',
  image: 'web',
  driver: undefined,
  vcpus: 1,
  memoryBytes: 2 ** 20,
  diskBytes: undefined,
  injection: { env: {}, files: [], tls: undefined },
  labels: {},
  workload: undefined,
};

describe('an instance that is created', () => {
  let lab: StateLab;
  let calls: string[];
  let use: (id: ImageId) => void;
  let room: DiskRoom;
  let context: Context;
  beforeEach(async () => {
    lab = await StateLab.open();
    calls = [];
    use = () => undefined;
    room = { working: 0, kept: 0 };
    const { store, files, snapshots, snapshotFiles, journal, answers, paths } = lab;
    const status = { available: true, capabilities: DRIVER_CAPABILITIES.qemu };
    context = {
      ...{ store, files, snapshots, snapshotFiles, journal, answers, paths },
      logger: pino({ level: 'silent' }),
      defaultDriver: 'qemu',
      drivers: new Map([
        [
          'qemu',
          { name: 'qemu', diskFormats: ['qcow2'], probe: () => Promise.resolve(status) } as unknown as HypervisorDriver,
        ],
      ]),
      disks: new DiskStorages([
        {
          name: 'overlay',
          create: () => {
            calls.push('create disk');
            return Promise.reject(new Error('no disk'));
          },
          destroy: () => Promise.resolve(),
          roomFor: () => Promise.resolve(room),
        } as Partial<DiskStorage> as DiskStorage,
      ]),
      memory: new MemoryBudget(0),
      limits: { instances: 9, bootMs: 1, pauseMs: 1, memoryReserveBytes: 0 },
      network: {
        status: { capacity: 9 },
        identityOf: (slot: number) => ({ slot, mac: 'm', ipv4: '10.0.0.2', prefixLength: 24, gateway: '10.0.0.1' }),
      } as unknown as Network,
      images: {
        resolve: () => Promise.resolve(image),
        use: (id) => {
          calls.push(`use with ${String(store.list({ image: id }).length)} row`);
          use(id);
        },
        release: (id) => void calls.push(`release with ${String(store.list({ image: id }).length)} rows`),
      } as Partial<ImageStore> as ImageStore,
      request: undefined,
    } as Partial<Context> as Context;
  });
  afterEach(async () => {
    expect(lab.journal.unfinished()).toEqual([]);
    await lab[Symbol.asyncDispose]();
  });

  it('has its row before it says that it uses the image, and lets go of that after the row is gone', async () => {
    await expect(createInstance(context, command, new AbortController().signal)).rejects.toThrow('no disk');
    expect(calls).toEqual(['use with 1 row', 'create disk', 'release with 0 rows']);
  });

  it.each<[string, (free: number) => DiskRoom]>([
    ['while its disk is made', (free) => ({ working: free, kept: 0 })],
    ['once its disk is there, for its memory', (free) => ({ working: 0, kept: free })],
  ])('is refused before any work where there is no room %s', async (_, take) => {
    room = take(await freeBytes(lab.paths.root));
    const error: unknown = await createInstance(context, command, new AbortController().signal).catch(
      (e: unknown) => e,
    );
    expect(error).toMatchObject({ kind: 'Capacity', reason: 'DISK_FULL', metadata: { path: lab.paths.root } });
    expect(calls).toEqual([]);
    expect(lab.store.list()).toEqual([]);
  });

  it('is refused, with nothing left, when its image was deleted since it was found', async () => {
    const gone = new NotFound('the image was deleted meanwhile', { reason: 'IMAGE_NOT_FOUND' });
    use = () => {
      throw gone;
    };
    await expect(createInstance(context, command, new AbortController().signal)).rejects.toBe(gone);
    expect(calls).toEqual(['use with 1 row', 'release with 0 rows']);
    expect(lab.store.list()).toEqual([]);
    expect(existsSync(lab.paths.instances) && (await lab.files.sweep(new Set()))).toEqual([]);
  });
});
