import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { DriverName } from '../domain/driver-capabilities.js';
import type { Instance, VmmProcess } from '../domain/instance.js';
import { ProcOrphans } from '../os/proc-orphans.js';
import type { HypervisorDriver, Vm } from '../ports/driver.js';
import type { GuestLink, GuestLinkFactory } from '../ports/guest-link.js';
import { StateLab } from '../state/testing/state-lab.js';
import { adoptVms } from './adopt-vms.js';
import type { DiskStorages } from './disk-storages.js';
import { RunningInstances } from './running-instances.js';

const vmm: VmmProcess = { pid: 4711, startTime: '1', privateMemory: false };
const disks = { of: () => ({ settle: () => Promise.resolve() }) } as unknown as DiskStorages;

describe('VMs that run since before the daemon did', () => {
  let lab: StateLab;
  let running: RunningInstances;
  /** What was asked of the VM and its link, in order. */
  let asked: string[];
  beforeEach(async () => {
    lab = await StateLab.open();
    asked = [];
    const link = {
      close: () => {
        asked.push('close link');
        return Promise.resolve();
      },
    } as Partial<GuestLink> as GuestLink;
    const links: Pick<GuestLinkFactory, 'attach'> = {
      attach: () => {
        asked.push('attach');
        return link;
      },
    };
    const logger = pino({ level: 'silent' });
    running = new RunningInstances(links as GuestLinkFactory, { hear: vi.fn() }, logger, () => Promise.resolve());
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  async function adopt(instance: Instance, vm?: Partial<Vm>): Promise<readonly Instance[]> {
    const driver = {
      adopt: () =>
        Promise.resolve(vm && { process: vmm, exited: new Promise(() => undefined), hostPort: () => undefined, ...vm }),
    } as unknown as HypervisorDriver;
    const drivers = new Map<DriverName, HypervisorDriver>([[instance.driver, driver]]);
    const { store, files, paths } = lab;
    const logger = pino({ level: 'silent' });
    const context = { drivers, running, disks, store, files, paths, orphans: new ProcOrphans(), logger };
    return adoptVms(context, [instance], () => []);
  }
  const step = (name: string) => (): Promise<void> => {
    asked.push(name);
    return Promise.resolve();
  };

  it('go on where the row says that they run, held from then on', async () => {
    const instance = await lab.newInstance({ vmm });
    expect(await adopt(instance, { resume: step('resume') })).toEqual([instance]);
    expect(asked).toEqual(['attach', 'resume']);
    expect(running.get(instance.id)).toBeDefined();
  });

  it('are stopped where they run and the row says that they stand still', async () => {
    const instance = await lab.newInstance({ vmm, state: 'PAUSED' });
    expect(await adopt(instance, { state: () => Promise.resolve('running'), pause: step('pause') })).toEqual([
      instance,
    ]);
    expect(asked).toEqual(['attach', 'pause']);
  });

  it('that do not do what they are told are FAILED with the reason, and nothing of them is held', async () => {
    const instance = await lab.newInstance({ vmm });
    expect(await adopt(instance, { resume: () => Promise.reject(new Error('stuck')) })).toEqual([]);
    expect(asked).toEqual(['attach', 'close link']);
    expect(running.get(instance.id)).toBeUndefined();
    const { state, stateReason, vmm: left } = lab.store.byId(instance.id)!;
    expect({ state, stateReason, left }).toEqual({
      state: 'FAILED',
      stateReason: 'the hypervisor could not be taken over: stuck',
      left: undefined,
    });
  });

  it('that are gone are FAILED', async () => {
    const instance = await lab.newInstance({ vmm });
    expect(await adopt(instance)).toEqual([]);
    expect(asked).toEqual([]);
    expect(lab.store.byId(instance.id)).toMatchObject({
      state: 'FAILED',
      stateReason: 'the hypervisor ended while no daemon ran',
    });
  });
});
