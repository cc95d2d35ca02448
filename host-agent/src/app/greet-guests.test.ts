import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Instance } from '../domain/instance.js';
import type { GuestLink } from '../ports/guest-link.js';
import { StateLab } from '../state/testing/state-lab.js';
import { greetGuests } from './greet-guests.js';
import { InstanceCredentials } from './instance-credentials.js';
import { Locks } from './locks.js';
import type { RunningInstance, RunningInstances } from './running-instances.js';

const never = new AbortController().signal;
const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};

describe('greeting the guests of VMs that were taken over', () => {
  let lab: StateLab;
  let locks: Locks;
  /** What was asked of guests, "what name", in order. */
  let asked: string[];
  let answer: Map<string, () => void>;
  let running: Map<string, RunningInstance>;
  beforeEach(async () => {
    lab = await StateLab.open();
    locks = new Locks();
    asked = [];
    answer = new Map();
    running = new Map();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  async function adopted(name: string, change: Partial<Instance> = {}): Promise<Instance> {
    const slot = running.size;
    const network = { slot, mac: '02:4f:0a:d5:00:02', ipv4: '10.213.0.2', prefixLength: 20, gateway: '10.213.0.1' };
    const instance = await lab.newInstance({ name, network, ...change });
    const heard = (what: string) => (): Promise<void> => {
      asked.push(`${what} ${name}`);
      return new Promise((resolve) => answer.set(name, resolve));
    };
    const link = { thaw: heard('thaw'), reconfigureNetwork: heard('identify'), wake: () => void heard('wake')() };
    const credential = new InstanceCredentials().of(instance.id);
    running.set(instance.id, { link: link as Partial<GuestLink>, credential } as unknown as RunningInstance);
    return instance;
  }

  function greet(instances: readonly Instance[], atOnce = 2): Promise<void> {
    const { store, files } = lab;
    const all = { get: (id: string) => running.get(id) } as Partial<RunningInstances> as RunningInstances;
    return greetGuests({ store, files, locks, running: all, logger: pino({ level: 'silent' }) }, instances, atOnce);
  }

  it('lets go as many at a time as there are processors, those first that wait for who they are', async () => {
    const instances = [
      await adopted('one'),
      await adopted('two'),
      await adopted('nobody', { identityPending: true }),
      await adopted('three'),
    ];
    const greeted = greet(instances);
    await turns();
    expect(asked).toEqual(['identify nobody', 'thaw one']);
    answer.get('nobody')!();
    await vi.waitUntil(() => asked.length === 3);
    answer.get('one')!();
    await vi.waitUntil(() => asked.length === 4);
    expect(asked.slice(2)).toEqual(['thaw two', 'thaw three']);
    for (const name of ['two', 'three']) answer.get(name)!();
    await greeted;
    expect(lab.store.byId(instances[2]!.id)!.identityPending).toBeUndefined();
  });

  it('does not let one that is silent keep the others waiting', async () => {
    const instances = [await adopted('silent'), await adopted('other')];
    const greeted = greet(instances, 1);
    await vi.waitUntil(() => asked.includes('thaw other'), { timeout: 10_000 });
    answer.get('other')!();
    await greeted;
    answer.get('silent')!();
  });

  it('wakes those that are paused at once, and waits for nothing of them', async () => {
    await greet([await adopted('paused', { state: 'PAUSED' })]);
    expect(asked).toEqual(['wake paused']);
  });

  it.each<[string, (id: string) => void, readonly string[]]>([
    ['lets it go after that', () => undefined, ['thaw vm']],
    ['leaves it alone when it has no VM any more', (id) => running.delete(id), []],
  ])('waits for who is at work with an instance, and %s', async (_what, work, expected) => {
    const instance = await adopted('vm');
    const atWork = await locks.exclusive(instance.id, never);
    const greeted = greet([instance]);
    await turns();
    expect(asked).toEqual([]);
    work(instance.id);
    atWork[Symbol.dispose]();
    await turns();
    expect(asked).toEqual(expected);
    answer.get('vm')?.();
    await greeted;
  });

  it('passes over those that are gone', async () => {
    const instance = await adopted('vm');
    running.clear();
    await greet([instance]);
    expect(asked).toEqual([]);
  });
});
