import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { InvalidState } from '@offshoot/shared/errors.js';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mintSnapshotId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { Snapshot } from '../domain/snapshot.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import type { Vm } from '../ports/driver.js';
import type { ImageStore } from '../ports/image-store.js';
import type { GuestLink } from '../ports/guest-link.js';
import { StateLab } from '../state/testing/state-lab.js';
import type { Context } from './context.js';
import { deleteInstance } from './delete-instance.js';
import { deleteSnapshot } from './delete-snapshot.js';
import { DiskStorages } from './disk-storages.js';
import type { LayerMerger } from './layer-merger.js';
import { Locks } from './locks.js';
import { MailboxIndexes } from './mailbox-indexes.js';
import { InstanceCredentials } from './instance-credentials.js';
import type { RunningInstance, RunningInstances } from './running-instances.js';
import { SnapshotSealer } from './snapshot-sealer.js';
import type { WorkloadLog } from './workload-log.js';

const never = new AbortController().signal;
const logger = pino({ level: 'silent' });
const IN_USE = new InvalidState('somebody cloned it', { reason: 'DISK_IN_USE' });

describe('what is deleted', () => {
  let lab: StateLab;
  let context: Context;
  let instance: Instance;
  let snapshot: Snapshot;
  let running: RunningInstance | undefined;
  /** Whose layers are not merged any more, and how many disks had been destroyed by then. */
  let forgotten: [string, number][];
  let inUse: boolean;
  let destroyed: string[];
  let released: string[];
  beforeEach(async () => {
    forgotten = [];
    lab = await StateLab.open();
    instance = await lab.newInstance({ storage: 'zfs' });
    [inUse, destroyed, released, running] = [false, [], [], undefined];
    const storage = {
      name: 'zfs',
      destroy: ({ id }) => (inUse ? Promise.reject(IN_USE) : Promise.resolve(void destroyed.push(id))),
    } as Partial<DiskStorage> as DiskStorage;
    const { store, files, snapshots, snapshotFiles, journal, answers, paths } = lab;
    const parts = { store, files, snapshots, snapshotFiles, journal, answers, paths, logger };
    context = {
      ...parts,
      locks: new Locks(),
      running: {
        remove: () => {
          const removed = running;
          running = undefined;
          return removed;
        },
      } as Partial<RunningInstances> as RunningInstances,
      disks: new DiskStorages([storage]),
      mailboxIndexes: new MailboxIndexes(paths, logger),
      sealer: new SnapshotSealer(parts),
      merger: {
        forget: (id) => {
          forgotten.push([id, destroyed.length]);
          return Promise.resolve();
        },
      } as Partial<LayerMerger> as LayerMerger,
      images: { release: (image) => void released.push(image) } as Partial<ImageStore> as ImageStore,
      request: { id: 'r', method: 'm', fingerprint: 'f', part: 0 },
    } as Partial<Context> as Context;
    snapshot = { ...instance, id: mintSnapshotId(), name: 'snap', sourceId: instance.id, sourceName: 'vm', stamps: {} };
    const staged = snapshotFiles.staged(snapshot.id);
    await mkdir(staged.root, { recursive: true });
    await writeFile(staged.memory, '');
    await snapshotFiles.publish(snapshot);
    snapshots.insert(snapshot);
  });
  afterEach(async () => {
    expect(lab.journal.unfinished()).toEqual([]);
    await lab[Symbol.asyncDispose]();
  });

  /** What a caller that asks again is answered. */
  const answered = (): number => lab.answers.of('r').length;
  const run = (): void => {
    running = {
      vm: { kill: () => Promise.resolve() } as Partial<Vm> as Vm,
      link: { close: () => Promise.resolve() } as Partial<GuestLink> as GuestLink,
      log: { [Symbol.dispose]: () => undefined } as unknown as WorkloadLog,
      acks: undefined,
      credential: new InstanceCredentials().of(instance.id),
    };
  };

  it('is gone with its disk: an instance', async () => {
    run();
    await deleteInstance(context, 'vm', true, never);
    expect(destroyed).toEqual([instance.id]);
    expect(lab.store.byId(instance.id)).toBeUndefined();
    expect(existsSync(lab.paths.instance(instance.id).root)).toBe(false);
    expect(released).toEqual([instance.imageId]);
    expect(answered()).toBe(1);
  });

  it('has nothing written into its folder any more, before that goes', async () => {
    run();
    await deleteInstance(context, 'vm', true, never);
    expect(forgotten).toEqual([[instance.id, 0]]);
  });

  it('is gone with its disk: a snapshot', async () => {
    await deleteSnapshot(context, 'snap', never);
    expect(new Set(destroyed)).toEqual(new Set([snapshot.id]));
    expect(lab.snapshots.list()).toEqual([]);
    expect(existsSync(lab.paths.snapshot(snapshot.id).root)).toBe(false);
    expect(released).toEqual([snapshot.imageId]);
    expect(answered()).toBe(1);
  });

  it('stays where its disk cannot go, and can be deleted later: an instance, whose hypervisor has gone', async () => {
    run();
    inUse = true;
    await expect(deleteInstance(context, 'vm', true, never)).rejects.toBe(IN_USE);
    expect(lab.store.byId(instance.id)).toMatchObject({ state: 'FAILED', stateReason: 'somebody cloned it' });
    expect(existsSync(lab.paths.instance(instance.id).root)).toBe(true);
    expect(answered()).toBe(0);
    expect(released).toEqual([]);
    inUse = false;
    await deleteInstance(context, 'vm', true, never);
    expect(lab.store.byId(instance.id)).toBeUndefined();
  });

  it('stays as it was where it did not run', async () => {
    lab.store.update({ ...instance, state: 'STOPPED' });
    inUse = true;
    await expect(deleteInstance(context, 'vm', false, never)).rejects.toBe(IN_USE);
    expect(lab.store.byId(instance.id)).toMatchObject({ state: 'STOPPED', stateReason: '' });
  });

  it('stays where its disk cannot go, and can be deleted later: a snapshot', async () => {
    inUse = true;
    await expect(deleteSnapshot(context, 'snap', never)).rejects.toBe(IN_USE);
    expect(lab.snapshots.resolve('snap')).toEqual(snapshot);
    expect(existsSync(lab.paths.snapshot(snapshot.id).memory)).toBe(true);
    expect(answered()).toBe(0);
    inUse = false;
    await deleteSnapshot(context, 'snap', never);
    expect(lab.snapshots.list()).toEqual([]);
  });
});
