import { setImmediate as turnOfTheLoop } from 'node:timers/promises';
import { pino } from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import type { DriverName } from '../domain/driver-capabilities.js';
import { mintInstanceId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import { StatePaths } from '../paths.js';
import type { DiskStorage, LayerMerge } from '../ports/disk-storage.js';
import type { Vm } from '../ports/driver.js';
import { DiskStorages } from './disk-storages.js';
import { LayerMerger } from './layer-merger.js';
import { Locks } from './locks.js';
import type { RunningInstance } from './running-instances.js';

const never = new AbortController().signal;

describe('the layers of a disk', () => {
  /** What was asked of storage and VM, in order. */
  let asked: string[];
  let instance: Instance | undefined;
  let isMergeDue: boolean;
  /** What a merge says of itself, one after the other; then that it is whole. */
  let progress: ReturnType<LayerMerge['progress']>[];
  /** What a merge waits for before it takes its turn, and after it. */
  let copying: Promise<unknown>;
  let changing: () => Promise<void>;
  let isVmThere: boolean;
  let locks: Locks;
  let merger: LayerMerger;

  const told = (what: string): Promise<void> => {
    asked.push(what);
    return Promise.resolve();
  };
  const storage = {
    name: 'overlay',
    mergeLayers: async (_folder, turn, signal) => {
      if (!isMergeDue) return undefined;
      asked.push('begin');
      await copying;
      await turn();
      signal?.throwIfAborted();
      asked.push('copied');
      const merge: LayerMerge = {
        progress: () => progress.shift() ?? 'whole',
        catchUp: () => told('catch up'),
        publish: async () => {
          await told('publish');
          return '/merged';
        },
        [Symbol.asyncDispose]: () => told('dispose'),
      };
      return merge;
    },
    changeBacking: (_folder, file) => told(`change backing at rest to ${file}`),
    settle: (_folder, openFile) => told(`settle ${openFile ?? 'at rest'}`),
  } as Partial<DiskStorage> as DiskStorage;
  const vm = {
    diskFile: () => Promise.resolve('/open'),
    changeBacking: async (file: string) => {
      asked.push(`change backing to ${file}`);
      await changing();
    },
  } as Partial<Vm> as Vm;
  const of = (state: Instance['state'], driver: DriverName = 'qemu'): Instance =>
    ({ id: mintInstanceId(), name: 'vm', driver, storage: 'overlay', state }) as Instance;

  beforeEach(() => {
    [asked, progress, isMergeDue, isVmThere] = [[], [], true, true];
    [copying, changing] = [Promise.resolve(), () => Promise.resolve()];
    instance = of('RUNNING');
    locks = new Locks();
    merger = new LayerMerger({
      store: { byId: (id: string) => (instance?.id === id ? instance : undefined) } as never,
      disks: new DiskStorages([storage]),
      paths: new StatePaths('/state'),
      logger: pino({ level: 'silent' }),
      locks,
      running: { get: () => (isVmThere ? ({ vm } as RunningInstance) : undefined) },
    });
  });
  /** Until nothing is left to do. */
  async function merged(): Promise<void> {
    const { id } = instance!;
    merger.consider(id);
    while (merger.isMerging(id)) await turnOfTheLoop();
  }
  const some = async (): Promise<void> => {
    for (let n = 0; n < 20; n++) await turnOfTheLoop();
  };

  it.each(['RUNNING', 'PAUSED'] as const)('are merged under a VM, which is told: %s', async (state) => {
    instance = of(state);
    await merged();
    expect(asked).toEqual(['begin', 'copied', 'publish', 'change backing to /merged', 'settle /open', 'dispose']);
  });

  it.each(['STANDBY', 'STOPPED'] as const)('are merged on the disk of one at rest: %s', async (state) => {
    instance = of(state);
    await merged();
    expect(asked).toEqual([
      'begin',
      'copied',
      'publish',
      'change backing at rest to /merged',
      'settle at rest',
      'dispose',
    ]);
  });

  it('are left alone where there are few, the hypervisor knows none, or the instance is gone or failed', async () => {
    isMergeDue = false;
    await merged();
    isMergeDue = true;
    instance = of('RUNNING', 'firecracker');
    await merged();
    expect(asked).toEqual([]);
    instance = of('FAILED');
    await merged();
    instance = of('RUNNING');
    isVmThere = false;
    await merged();
    expect(asked).toEqual(['begin', 'copied', 'dispose', 'begin', 'copied', 'dispose']);
    merger.consider(mintInstanceId());
    await merger.close();
  });

  it('that came meanwhile are merged as well, before anything is changed', async () => {
    progress = ['behind', 'behind', 'whole'];
    await merged();
    expect(asked.slice(1, 5)).toEqual(['copied', 'catch up', 'catch up', 'publish']);
  });

  it('are not replaced on a disk that is another one by now', async () => {
    progress = ['void'];
    await merged();
    expect(asked).toEqual(['begin', 'copied', 'dispose']);
  });

  it('are merged once, however often somebody thinks of it meanwhile', async () => {
    merger.consider(instance!.id);
    await merged();
    expect(asked.filter((each) => each === 'begin')).toHaveLength(1);
  });

  it('are not copied, nor is the disk told anything, while any VM is captured', async () => {
    const captures = [merger.holdOff(), merger.holdOff()];
    merger.consider(instance!.id);
    await some();
    expect(asked).toEqual([]);
    captures.pop()![Symbol.dispose]();
    await some();
    expect(asked).toEqual([]);
    captures.pop()![Symbol.dispose]();
    let copied: () => void = () => undefined;
    copying = new Promise<void>((resolve) => (copied = resolve));
    await some();
    expect(asked).toEqual(['begin']);
    const capture = merger.holdOff();
    copied();
    await some();
    expect(asked).toEqual(['begin']);
    capture[Symbol.dispose]();
    await merged();
    expect(asked.at(-1)).toBe('dispose');
  });

  it('wait for who has the instance, and let pass who wants it', async () => {
    const { id } = instance!;
    const forks = [await locks.shared(id, never)];
    merger.consider(id);
    await some();
    expect(asked).toEqual(['begin', 'copied']);
    forks.push(await locks.shared(id, never)); // at once
    for (const fork of forks) fork[Symbol.dispose]();
    await merged();
    expect(asked.at(-1)).toBe('dispose');
  });

  it('stay as they are where the VM refuses, and what was made is removed', async () => {
    changing = () => Promise.reject(new Error('no'));
    await merged();
    expect(asked.slice(-3)).toEqual(['change backing to /merged', 'settle /open', 'dispose']);
    await merged(); // the next occasion
    expect(asked.filter((each) => each === 'begin')).toHaveLength(2);
  });

  it.each([
    ['the instance is deleted', (id: Instance['id']) => merger.forget(id)],
    ['the daemon stops', () => merger.close()],
  ])('are given up when %s, wherever they are', async (_, end) => {
    const { id } = instance!;
    const capture = merger.holdOff();
    merger.consider(id);
    await some();
    await end(id);
    capture[Symbol.dispose]();
    expect(asked).toEqual([]);

    const lock = await locks.exclusive(id, never);
    merger.consider(id);
    await some();
    await end(id);
    expect(asked).toEqual(['begin', 'copied', 'dispose']);
    lock[Symbol.dispose]();
    (await locks.exclusive(id, never))[Symbol.dispose]();
    await merger.forget(id); // of which there is nothing
  });
});
