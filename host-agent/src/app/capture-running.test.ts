import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { Timeout } from '@offshoot/shared/errors.js';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DRIVER_CAPABILITIES } from '../domain/driver-capabilities.js';
import { goOnAfter } from '../domain/go-on-after.js';
import type { Instance } from '../domain/instance.js';
import type { GoOnStep } from '../domain/operations.js';
import type { CapturePaths } from '../paths.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import type { CaptureTarget, HypervisorDriver, Vm } from '../ports/driver.js';
import type { GuestLink } from '../ports/guest-link.js';
import type { Network } from '../ports/network.js';
import { StateLab } from '../state/testing/state-lab.js';
import { captureRunning, type RunningCapture } from './capture-running.js';
import type { Context } from './context.js';
import { DiskStorages } from './disk-storages.js';
import { InstanceCredentials } from './instance-credentials.js';
import type { LayerMerger } from './layer-merger.js';
import { Locks } from './locks.js';
import type { RunningInstance, RunningInstances } from './running-instances.js';
import type { WorkloadLog } from './workload-log.js';

const logger = pino({ level: 'silent' });
const ORDER = ['quiesce', 'flush ahead', 'pause', 'flush', 'snapshot', 'resume', 'thaw'];
type Step = 'quiesce' | 'flush ahead' | 'pause' | 'flush' | 'snapshot' | 'save' | 'resume' | 'write';

describe('a capture of an instance that goes on', () => {
  let lab: StateLab;
  let instance: Instance;
  let files: CapturePaths;
  let context: Context;
  let caller: AbortController;
  let credentials: InstanceCredentials;
  /** What the guest was given last. */
  let given: string;
  /** What happened, in order. */
  let done: string[];
  const machine = { paused: false, pause: (paused: boolean) => void (machine.paused = paused) };
  /** What happens at a step before it is done; it fails, or waits, where that does. */
  let at: Partial<Record<Step, () => Promise<void> | void>>;
  let pauseMs: number;
  /** Captures for which nothing is merged. */
  let heldOff: number;

  async function step(name: Step): Promise<void> {
    await at[name]?.();
    done.push(name);
  }

  /** Does what the driver port promises: whatever fails after the pause, the VM goes on, or both failures are told. */
  const vm = {
    process: { pid: 1, startTime: '1', privateMemory: true },
    snapshot: async (
      { stateFile, memoryFile }: CaptureTarget,
      { whilePaused, onReached }: { whilePaused?: () => Promise<void>; onReached?: (reached: GoOnStep) => void },
      signal: AbortSignal,
    ) => {
      await step('pause');
      machine.pause(true);
      onReached?.('paused');
      const resume = async (): Promise<void> => {
        await step('resume');
        machine.pause(false);
        onReached?.('went on');
      };
      try {
        await whilePaused?.();
        await at.save?.();
        signal.throwIfAborted();
        await resume();
        await at.write?.();
        for (const file of [stateFile, memoryFile]) await writeFile(file, 'of the moment');
      } catch (error) {
        if (machine.paused) await goOnAfter(error, resume);
        throw error;
      }
      return { capture: { stateFile, memoryFile, pauseMs: 1 }, replaced: false };
    },
  } as Partial<Record<keyof Vm, unknown>> as unknown as Vm;

  const storage = {
    name: 'sparse',
    flush: () => step(machine.paused ? 'flush' : 'flush ahead'),
    snapshot: async (_disk: CapturePaths, moment: CapturePaths) => {
      await step('snapshot');
      await writeFile(moment.disk('raw'), 'disk');
      return { copiedBytes: 4, reflinked: false, layers: 0, ms: 1 };
    },
    destroy: (folder: CapturePaths) => rm(folder.disk('raw'), { force: true }),
  } as Partial<DiskStorage> as DiskStorage;

  beforeEach(async () => {
    lab = await StateLab.open();
    [done, at, machine.paused, pauseMs, heldOff] = [[], {}, false, 60_000, 0];
    caller = new AbortController();
    instance = await lab.newInstance({
      vmm: { pid: 1, startTime: '1', privateMemory: true },
      agent: { version: '1', bootId: 'b', kernelRelease: 'k' },
    });
    files = lab.paths.capture('c');
    const link = {
      quiesce: async () => {
        await step('quiesce');
        return { stopBefore: performance.now() + 60_000 };
      },
      thaw: (credential) => {
        given = credential.toString();
        return Promise.resolve(void done.push('thaw'));
      },
      mailboxes: () => [],
      waitForMailboxes: () => Promise.resolve(),
    } as Partial<GuestLink> as GuestLink;
    credentials = new InstanceCredentials();
    const credential = credentials.of(instance.id);
    given = credential.issue().toString();
    const log = { offset: 0 } as unknown as WorkloadLog;
    const running = { vm, link, log, credential, acks: undefined } satisfies RunningInstance;
    const status = { available: true, capabilities: DRIVER_CAPABILITIES.firecracker };
    const driver = { name: 'firecracker', probe: () => Promise.resolve(status) };
    const { store, paths, files: instanceFiles, journal, answers } = lab;
    const merger = {
      holdOff: () => {
        heldOff += 1;
        return { [Symbol.dispose]: () => void (heldOff -= 1) };
      },
    } as Partial<LayerMerger> as LayerMerger;
    context = {
      store,
      paths,
      files: instanceFiles,
      journal,
      answers,
      locks: new Locks(),
      running: { get: () => running } as Partial<RunningInstances> as RunningInstances,
      drivers: new Map([['firecracker', driver as unknown as HypervisorDriver]]),
      network: { status: { mode: 'tap' } } as Network,
      disks: new DiskStorages([storage]),
      merger,
      request: undefined,
      logger,
    } as Partial<Context> as Context;
  });
  afterEach(async () => {
    expect(heldOff).toBe(0);
    expect(context.journal.unfinished()).toEqual([]);
    await lab[Symbol.asyncDispose]();
  });

  const capture = (): Promise<RunningCapture> =>
    captureRunning(
      { ...context, limits: { instances: 1, bootMs: 1, pauseMs, memoryReserveBytes: 0 } },
      instance.id,
      'forkRunning',
      files,
      true,
      caller.signal,
    );
  /** The VM runs, its guest has been let go with a credential that is good, and nothing of the capture is left. */
  const expectAsBefore = (): void => {
    expect(machine.paused).toBe(false);
    expect(done.at(-1)).toBe('thaw');
    expect(credentials.ownerOf(given)).toBe(instance.id);
    expect(existsSync(files.root)).toBe(false);
    expect(context.store.byId(instance.id)?.state).toBe('RUNNING');
  };

  it('takes each step in its order: the disk is written through before its moment is taken', async () => {
    const { sourceDisk } = await capture();
    expect(done).toEqual(ORDER);
    expect(sourceDisk).toMatchObject({ copiedBytes: 4 });
    expect(existsSync(files.disk('raw'))).toBe(true);
  });

  it('has nothing merged from before the guest holds still until it goes on', async () => {
    const seen: number[] = [];
    const look = (): void => void seen.push(heldOff);
    at = { quiesce: look, pause: look, resume: look };
    await capture();
    expect(seen).toEqual([1, 1, 1]);
  });

  it('has no credential that is good from before its quiesce until its thaw, which brings another one', async () => {
    const before = given;
    const owners: unknown[] = [];
    for (const each of ['quiesce', 'flush ahead', 'pause', 'flush', 'snapshot', 'save', 'write'] as const)
      at[each] = () => void owners.push(credentials.ownerOf(before));
    await capture();
    expect(owners).toEqual(Array.from({ length: 7 }));
    expect(given).not.toBe(before);
    expect(credentials.ownerOf(given)).toBe(instance.id);
  });

  it.each(['quiesce', 'flush ahead', 'pause', 'flush', 'snapshot', 'save', 'write'] as const)(
    'that fails at its step %s leaves the VM running and nothing else',
    async (failing) => {
      at[failing] = () => {
        throw new Error(`no ${failing}`);
      };
      await expect(capture()).rejects.toThrow(`no ${failing}`);
      expectAsBefore();
      at = {};
      await capture();
    },
  );

  it.each(['quiesce', 'flush ahead', 'pause', 'flush', 'snapshot', 'save'] as const)(
    'whose caller goes at its step %s leaves the VM running and nothing else',
    async (going) => {
      at[going] = () => {
        caller.abort(new Error('gone'));
        caller.signal.throwIfAborted();
      };
      await expect(capture()).rejects.toThrow('gone');
      expectAsBefore();
    },
  );

  it('after which the VM cannot go on takes the moment of its disk back, and tells both failures', async () => {
    at.save = () => {
      throw new Error('no save');
    };
    at.resume = () => {
      throw new Error('no resume');
    };
    await expect(capture()).rejects.toMatchObject({
      reason: 'RESUME_FAILED',
      message: expect.stringMatching(/no save.*no resume/) as string,
    });
    expect(existsSync(files.root)).toBe(false);
    expect(done.at(-1)).toBe('thaw');
  });

  it.each(['flush', 'snapshot'] as const)(
    'does not let the VM stand longer than the limit, whatever %s waits for',
    async (stuck) => {
      pauseMs = 1;
      let letGo = (): void => undefined;
      at[stuck] = () =>
        new Promise((resolve) => {
          letGo = resolve;
        });
      const error: unknown = await capture().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(Timeout);
      expect(error).toMatchObject({ reason: 'PAUSE_LIMIT', metadata: { instance: 'vm' } });
      expectAsBefore();
      letGo();
    },
  );

  it('is refused before the VM is touched where its storage is not here', async () => {
    context.store.update({ ...instance, storage: 'zfs' });
    await expect(capture()).rejects.toMatchObject({ reason: 'STORAGE_MISMATCH' });
    expect(done).toEqual([]);
  });
});
