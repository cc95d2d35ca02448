import { writeFile } from 'node:fs/promises';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DRIVER_CAPABILITIES } from '../domain/driver-capabilities.js';
import type { Instance } from '../domain/instance.js';
import type { CaptureTarget, HypervisorDriver, Vm } from '../ports/driver.js';
import type { GuestLink } from '../ports/guest-link.js';
import type { Network } from '../ports/network.js';
import { StateLab } from '../state/testing/state-lab.js';
import type { Context } from './context.js';
import { InstanceCredentials } from './instance-credentials.js';
import type { LayerMerger } from './layer-merger.js';
import { Locks } from './locks.js';
import type { RunningInstance, RunningInstances } from './running-instances.js';
import { standbyInstance } from './standby-instance.js';
import type { WorkloadLog } from './workload-log.js';

const fails = (what: string) => (): Promise<never> => Promise.reject(new Error(`no ${what}`));

describe('parking an instance', () => {
  let lab: StateLab;
  let instance: Instance;
  let context: Context;
  let done: string[];
  let vm: Vm;
  beforeEach(async () => {
    lab = await StateLab.open();
    instance = await lab.newInstance({
      driver: 'firecracker',
      vmm: { pid: 1, startTime: '1', privateMemory: true },
      agent: { version: '1', bootId: 'b', kernelRelease: 'k' },
    });
    done = [];
    vm = {
      process: instance.vmm,
      capture: async ({ stateFile, memoryFile }: CaptureTarget) => {
        for (const file of [stateFile, memoryFile]) await writeFile(file, 'of the moment');
        return { stateFile, memoryFile, pauseMs: 1 };
      },
      resume: () => Promise.resolve(void done.push('resume')),
    } as Partial<Record<keyof Vm, unknown>> as unknown as Vm;
    const link = {
      quiesce: () => Promise.resolve({ stopBefore: performance.now() + 60_000 }),
      thaw: () => Promise.resolve(void done.push('thaw')),
      mailboxes: () => [],
      waitForMailboxes: () => Promise.resolve(),
    } as Partial<GuestLink> as GuestLink;
    const running = {
      vm,
      link,
      log: { offset: 0 } as unknown as WorkloadLog,
      credential: new InstanceCredentials().of(instance.id),
    } as unknown as RunningInstance;
    const status = { available: true, capabilities: DRIVER_CAPABILITIES.firecracker };
    const driver = { name: 'firecracker', probe: () => Promise.resolve(status) };
    const { store, paths, files, journal, answers } = lab;
    context = {
      ...{ store, paths, files, journal, answers },
      locks: new Locks(),
      running: { get: () => running } as Partial<RunningInstances> as RunningInstances,
      drivers: new Map([['firecracker', driver as unknown as HypervisorDriver]]),
      network: { status: { mode: 'tap' } } as Network,
      merger: { holdOff: () => ({ [Symbol.dispose]: () => undefined }) } as Partial<LayerMerger> as LayerMerger,
      request: undefined,
      logger: pino({ level: 'silent' }),
    } as Partial<Context> as Context;
  });
  afterEach(async () => {
    expect(context.journal.unfinished()).toEqual([]);
    await lab[Symbol.asyncDispose]();
  });

  const park = (): Promise<unknown> =>
    standbyInstance(
      context,
      { instance: 'vm', waitMailboxes: [], waitTimeoutMs: 1, freezeWorkload: true },
      new AbortController().signal,
    );
  /** What can fail once the VM stands still. */
  const FAILURES: readonly [string, () => void][] = [
    ['the capture', () => (vm.capture = fails('capture'))],
    [
      'its record',
      () => {
        const { files } = context;
        const save = files.save.bind(files);
        files.save = () => {
          files.save = save; // what is put back is saved again
          return fails('record')();
        };
      },
    ],
  ];

  it.each(FAILURES)('that fails at %s leaves it running', async (_what, arrange) => {
    arrange();
    await expect(park()).rejects.toThrow(/no (capture|record)/);
    expect(done).toEqual(['resume', 'thaw']);
    expect(context.store.byId(instance.id)?.state).toBe('RUNNING');
  });

  it.each(FAILURES)(
    'tells both failures when it fails at %s and the VM cannot go on either',
    async (_what, arrange) => {
      arrange();
      vm.resume = fails('resume');
      await expect(park()).rejects.toMatchObject({
        kind: 'Unreachable',
        reason: 'RESUME_FAILED',
        message: expect.stringMatching(/no (capture|record).*no resume/) as string,
      });
    },
  );
});
