import { status, type ServiceError } from '@grpc/grpc-js';
import { availableMemory } from '@offshoot/host-agent/os/available-memory.js';
import { InstanceState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { TestHost, type Traces } from '../harness/test-host.js';

const MIB = 2 ** 20;

describe('a host without memory for another VM', () => {
  let host: TestHost;
  let snapshots: SnapshotCalls;
  let before: { traces: Traces; instances: readonly Instance[] };
  const everything = async (): Promise<typeof before> => ({
    traces: await host.traces(),
    instances: await host.list(),
  });
  /** Another daemon over the same VMs. */
  const withReserve = async (mib: number): Promise<void> => {
    await host.stopDaemon();
    await host.startDaemon({ 'limits.memory_reserve_mib': String(mib) });
    before = await everything();
  };

  beforeAll(async () => {
    host = await TestHost.start();
    // Booted here and never captured while it runs: its first capture would move it to another VMM.
    await host.boot('running', 'counter.cjs');
    await host.boot('parked', 'counter.cjs');
    await host.standby('parked');
    snapshots = new SnapshotCalls(host);
    await snapshots.create({ instance: 'parked', name: 'moment', waitDurable: false });
    const stopped = { source: 'parked', name: 'stopped', targetState: InstanceState.INSTANCE_STATE_STOPPED };
    await host.fork(stopped);
  });
  afterAll(async () => {
    await snapshots.deleteAll();
    await host[Symbol.asyncDispose]();
  });

  describe('of which all is reserved', () => {
    beforeAll(() => withReserve(67_108_864));
    afterEach(async () => {
      expect(await everything()).toEqual(before);
      expect(host.machine.captures()).toBe(0);
    });

    it.each<[string, () => Promise<unknown>, number]>([
      ['a boot', () => host.boot('vm', 'counter.cjs'), 512],
      ['the start of a stopped instance', () => host.startInstance('stopped'), 512],
      ['the restore of a parked one', () => host.restore('parked'), 75],
      [
        'a snapshot of a running one, for the VMM it would move to',
        () => snapshots.create({ instance: 'running' }),
        75,
      ],
      ['a fork of a snapshot', () => snapshots.fork({ snapshot: 'moment' }), 75],
      ['setting a parked one back to a snapshot', () => snapshots.restore('moment'), 75],
      ['a fork of a parked one', () => host.fork({ source: 'parked' }), 75],
      [
        'a fork of a running one, and the VMM it would move to',
        () => host.fork({ source: 'running', fromRunning: true }),
        150,
      ],
      [
        'several forks of a running one',
        () => host.forkMany({ fork: { source: 'running', fromRunning: true }, count: 3 }),
        300,
      ],
      [
        'a boot from the disk of a stopped one',
        () => host.fork({ source: 'stopped', targetState: InstanceState.INSTANCE_STATE_RUNNING }),
        512,
      ],
    ])('refuses %s before any work', async (_, call, neededMib) => {
      expect(await failureOf(call())).toMatchObject({
        status: 'RESOURCE_EXHAUSTED',
        message: expect.stringContaining('limits.memory_reserve_mib') as string,
        details: {
          reason: 'MEMORY_EXHAUSTED',
          metadata: { needed_bytes: String(neededMib * MIB), free_bytes: '0', reserve_bytes: String(2 ** 46) },
        },
      });
    });
  });

  it('still makes forks that need none', async () => {
    for (const targetState of [InstanceState.INSTANCE_STATE_STOPPED, InstanceState.INSTANCE_STATE_STANDBY]) {
      const { instance } = await host.fork({ source: 'parked', name: 'at-rest', targetState });
      expect(instance!.state).toBe(targetState);
      await host.delete('at-rest');
    }
  });

  describe('of which ten GiB are left', () => {
    beforeEach(() => withReserve(Math.max(0, Math.floor(availableMemory() / MIB) - 10 * 1024)));

    it('refuses 256 forks as a whole, and makes one', async () => {
      const fork = { source: 'running', fromRunning: true };
      expect(await failureOf(host.forkMany({ fork, count: 256 }))).toMatchObject({
        status: 'RESOURCE_EXHAUSTED',
        message: expect.stringContaining('making 256 forks') as string,
        details: { reason: 'MEMORY_EXHAUSTED' },
      });
      expect(await everything()).toEqual(before);
      const { instance } = await host.fork({ ...fork, name: 'one' });
      expect(instance!.state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
      await host.delete('one');
    });
  });
});

describe('a host without a place for another fork', () => {
  let host: TestHost;
  let source: Instance;
  const rest = { targetState: InstanceState.INSTANCE_STATE_STOPPED, fromRunning: true };
  const forks = (): [string, () => Promise<unknown>][] => [
    ['one', () => host.fork({ source: 'source', fromRunning: true })],
    ['several', () => host.forkMany({ fork: { source: 'source', fromRunning: true }, count: 2 })],
  ];

  beforeAll(async () => {
    // The smallest there is: sixteen addresses, some of which are the host's.
    host = await TestHost.start({ settings: { 'network.subnet': '10.213.0.0/28' } });
    source = await host.boot('source', 'counter.cjs');
  });
  afterAll(() => host[Symbol.asyncDispose]());

  it('refuses it before the source is touched when no address is free', async () => {
    let capacity = 1;
    for (; capacity < 16; capacity++) {
      const refused = await host.fork({ source: 'source', ...rest }).then(
        () => undefined,
        (error: unknown) => error as ServiceError,
      );
      if (refused?.code === status.RESOURCE_EXHAUSTED) break;
      if (refused !== undefined) throw refused;
    }
    expect(capacity).toBeGreaterThan(1);
    const [before, { vmmPid }] = [await host.traces(), (await host.get('source')).instance!];
    for (const [, fork] of forks())
      expect(await failureOf(fork())).toMatchObject({
        status: 'RESOURCE_EXHAUSTED',
        details: { reason: 'ADDRESSES_EXHAUSTED', metadata: { capacity: String(capacity), free: '0' } },
      });
    expect(await host.traces()).toEqual(before);
    expect((await host.get('source')).instance).toMatchObject({ vmmPid, network: source.network });
    const { id } = (await host.list()).find(({ name }) => name !== 'source')!;
    await host.delete(id);
    await host.fork({ source: 'source', name: 'again', ...rest });
  });

  it('refuses it so when there are as many instances as are allowed', async () => {
    const instances = (await host.list()).length;
    await host.stopDaemon();
    await host.startDaemon({ 'limits.instances': String(instances) });
    const before = await host.traces();
    for (const [, fork] of forks())
      expect(await failureOf(fork())).toMatchObject({
        status: 'RESOURCE_EXHAUSTED',
        details: { reason: 'INSTANCE_LIMIT', metadata: { free: '0' } },
      });
    expect(await host.traces()).toEqual(before);
  });
});
