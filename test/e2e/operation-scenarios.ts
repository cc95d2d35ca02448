import { fileURLToPath } from 'node:url';
import type { OPERATION_STEPS } from '@offshoot/host-agent/domain/operations.js';
import { InstanceState as S, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { expect } from 'vitest';
import { deleteImage, importImage, listImages } from '../harness/image-directory.js';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import type { TestHost } from '../harness/test-host.js';

const MEMORY = 256n * 2n ** 20n;
const guestPrograms = fileURLToPath(new URL('../guest', import.meta.url));
const nothing = (): Promise<void> => Promise.resolve();

export type Kept = S | 'gone';

/** An operation on an instance of its own (its subject), cut short after each of its steps in turn. */
export interface Scenario {
  readonly title: string;
  readonly operation: keyof typeof OPERATION_STEPS;
  /** Makes the subject; nothing for operations that make it themselves. */
  readonly prepare: (subject: string) => Promise<unknown>;
  readonly act: (subject: string) => Promise<unknown>;
  /** What the subject is when the operation has been undone, and when it has been finished. */
  readonly undone: Kept;
  readonly finished: Kept;
  /** Only these of its steps: the others are the same as another scenario's, and a boot costs seconds. */
  readonly only?: readonly string[];
  /** Looks at what else the operation made or removed, and removes it. */
  readonly tidy?: (subject: string, outcome: 'finished' | 'undone') => Promise<unknown>;
  /** The subject may be used again for as long as its hypervisor is the same. */
  readonly reuse?: true;
  /** From which step on it is carried out although its caller is gone: `record` when left out. */
  readonly standsFrom?: string;
  /** What is carried out then is not all that the caller asked for, who is told that the call came to nothing. */
  readonly partOfCall?: true;
}

/** What scenarios ask of the host, under the name of their subject. */
export class SubjectCalls {
  /** @param started the host, once it is */
  constructor(private readonly started: () => TestHost) {}

  get host(): TestHost {
    return this.started();
  }

  get snapshots(): SnapshotCalls {
    return new SnapshotCalls(this.host);
  }

  create(name: string): Promise<Instance> {
    return this.host.boot(name, 'counter.cjs', { memoryBytes: MEMORY, requestId: name });
  }

  fork(name: string, change: Parameters<TestHost['fork']>[0] = {}): Promise<ForkInstanceResponse> {
    return this.host.fork({ source: 'parked', name, ...change });
  }

  async forkAndPark(name: string): Promise<void> {
    await this.fork(name);
    await this.host.standby(name);
  }

  async forkParkAndSnapshot(name: string): Promise<void> {
    await this.forkAndPark(name);
    await this.snapshotOf(name);
  }

  /** Of a few programs, of which an image is made soonest. */
  importImage(name: string): Promise<unknown> {
    return importImage(this.host, guestPrograms, name);
  }

  async hasImage(name: string): Promise<boolean> {
    return (await listImages(this.host)).some((image) => image.name === name);
  }

  snapshotOf(name: string): Promise<unknown> {
    return this.snapshots.create({ instance: name, name: `${name}-moment`, waitDurable: false });
  }

  /** @returns the names of those that were there */
  async removeSnapshots(name: string): Promise<readonly string[]> {
    const names = (await this.snapshots.list()).map((each) => each.name).filter((each) => each.startsWith(name));
    for (const each of names) await this.snapshots.delete(each);
    return names;
  }
}

export const scenariosOf = (calls: SubjectCalls): readonly Scenario[] => [
  {
    title: 'create',
    operation: 'create-instance',
    prepare: nothing,
    act: (name) => calls.create(name),
    undone: 'gone',
    finished: S.INSTANCE_STATE_RUNNING,
  },
  {
    title: 'fork of a parked instance',
    operation: 'fork-memory',
    prepare: nothing,
    act: (name) => calls.fork(name),
    undone: 'gone',
    finished: S.INSTANCE_STATE_RUNNING,
  },
  {
    title: 'fork of a disk',
    operation: 'fork-disk',
    prepare: nothing,
    act: (name) => calls.fork(name, { source: 'disk' }),
    undone: 'gone',
    finished: S.INSTANCE_STATE_STOPPED,
  },
  {
    title: 'fork of a disk that is booted',
    operation: 'fork-disk',
    prepare: nothing,
    act: (name) => calls.fork(name, { source: 'disk', targetState: S.INSTANCE_STATE_RUNNING }),
    undone: 'gone',
    finished: S.INSTANCE_STATE_RUNNING,
    only: ['launch', 'link', 'hello', 'workload'],
  },
  {
    title: 'start',
    operation: 'start-instance',
    prepare: (name) => calls.fork(name, { source: 'disk' }),
    act: (name) => calls.host.startInstance(name),
    undone: S.INSTANCE_STATE_STOPPED,
    finished: S.INSTANCE_STATE_RUNNING,
  },
  {
    title: 'pause',
    operation: 'pause-instance',
    prepare: (name) => calls.fork(name),
    act: (name) => calls.host.pause(name),
    undone: S.INSTANCE_STATE_RUNNING,
    finished: S.INSTANCE_STATE_PAUSED,
  },
  {
    title: 'resume',
    operation: 'resume-instance',
    prepare: async (name) => {
      await calls.fork(name);
      await calls.host.pause(name);
    },
    act: (name) => calls.host.resume(name),
    undone: S.INSTANCE_STATE_PAUSED,
    finished: S.INSTANCE_STATE_RUNNING,
  },
  {
    title: 'standby of a fork',
    operation: 'standby-instance',
    prepare: (name) => calls.fork(name),
    act: (name) => calls.host.standby(name),
    undone: S.INSTANCE_STATE_RUNNING,
    finished: S.INSTANCE_STATE_STANDBY,
  },
  {
    title: 'restore',
    operation: 'restore-instance',
    prepare: (name) => calls.forkAndPark(name),
    act: (name) => calls.host.restore(name),
    undone: S.INSTANCE_STATE_STANDBY,
    finished: S.INSTANCE_STATE_RUNNING,
    standsFrom: 'resume',
  },
  {
    title: 'fork that is to be parked',
    operation: 'fork-parked',
    prepare: nothing,
    act: (name) => calls.fork(name, { targetState: S.INSTANCE_STATE_STANDBY }),
    undone: 'gone',
    finished: S.INSTANCE_STATE_STANDBY,
  },
  {
    title: 'restore of a fork that has been parked from the start',
    operation: 'restore-instance',
    prepare: (name) => calls.fork(name, { targetState: S.INSTANCE_STATE_STANDBY }),
    act: (name) => calls.host.restore(name),
    undone: S.INSTANCE_STATE_STANDBY,
    finished: S.INSTANCE_STATE_RUNNING,
    only: ['patch', 'record', 'acks'],
    standsFrom: 'acks',
  },
  {
    title: 'snapshot of a parked instance',
    operation: 'create-snapshot',
    prepare: (name) => calls.forkAndPark(name),
    act: (name) => calls.snapshotOf(name),
    undone: S.INSTANCE_STATE_STANDBY,
    finished: S.INSTANCE_STATE_STANDBY,
    tidy: async (name, outcome) => {
      expect(await calls.removeSnapshots(name)).toHaveLength(outcome === 'finished' ? 1 : 0);
    },
  },
  {
    title: 'restore of a snapshot in place',
    operation: 'restore-snapshot',
    prepare: (name) => calls.forkParkAndSnapshot(name),
    act: (name) => calls.snapshots.restore(`${name}-moment`),
    undone: S.INSTANCE_STATE_STANDBY,
    finished: S.INSTANCE_STATE_STANDBY,
    tidy: async (name) => {
      expect(await calls.removeSnapshots(name)).toHaveLength(1);
    },
    partOfCall: true,
  },
  {
    title: 'delete of a snapshot',
    operation: 'delete-snapshot',
    prepare: (name) => calls.forkParkAndSnapshot(name),
    act: (name) => calls.snapshots.delete(`${name}-moment`),
    undone: S.INSTANCE_STATE_STANDBY,
    finished: S.INSTANCE_STATE_STANDBY,
    tidy: async (name, outcome) => {
      expect(await calls.removeSnapshots(name)).toHaveLength(outcome === 'finished' ? 0 : 1);
    },
    standsFrom: 'begun',
  },
  {
    title: 'delete of an image',
    operation: 'delete-image',
    prepare: (name) => calls.importImage(name),
    act: (name) => deleteImage(calls.host, name, `delete ${name}`),
    undone: 'gone',
    finished: 'gone',
    tidy: async (name, outcome) => {
      expect(await calls.hasImage(name)).toBe(outcome === 'undone');
      // The same request again is answered, whether it was carried out or has still to be.
      await deleteImage(calls.host, name, `delete ${name}`);
      expect(await calls.hasImage(name)).toBe(false);
    },
    standsFrom: 'begun',
  },
  {
    title: 'stop of a running instance',
    operation: 'stop-instance',
    prepare: (name) => calls.fork(name),
    act: (name) => calls.host.stop(name),
    undone: S.INSTANCE_STATE_RUNNING,
    finished: S.INSTANCE_STATE_STOPPED,
    standsFrom: 'begun',
  },
  {
    title: 'stop of a parked instance',
    operation: 'stop-instance',
    prepare: (name) => calls.forkAndPark(name),
    act: (name) => calls.host.stop(name),
    undone: S.INSTANCE_STATE_STANDBY,
    finished: S.INSTANCE_STATE_STOPPED,
    only: ['begun', 'record', 'drop memory'],
    standsFrom: 'begun',
  },
  {
    title: 'delete of a running instance',
    operation: 'delete-instance',
    prepare: (name) => calls.fork(name),
    act: (name) => calls.host.delete(name),
    undone: S.INSTANCE_STATE_RUNNING,
    finished: 'gone',
    standsFrom: 'begun',
  },
  {
    title: 'capture of a running fork, for a fork of it',
    operation: 'capture-running',
    prepare: (name) => calls.fork(name),
    act: (name) => calls.fork(`${name}-fork`, { source: name, fromRunning: true }),
    undone: S.INSTANCE_STATE_RUNNING,
    finished: S.INSTANCE_STATE_RUNNING,
    partOfCall: true,
  },
  {
    title: 'capture of a running instance that was booted, for a fork of it',
    operation: 'capture-running',
    prepare: async (name) => {
      await calls.create(name);
    },
    act: (name) => calls.fork(`${name}-fork`, { source: name, fromRunning: true }),
    undone: S.INSTANCE_STATE_RUNNING,
    finished: S.INSTANCE_STATE_RUNNING,
    only: ['clone disk', 'successor started', 'saved', 'loaded', 'noted', 'went on', 'handed over', 'record'],
    reuse: true,
    partOfCall: true,
  },
];
