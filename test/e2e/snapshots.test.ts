import { execFileSync } from 'node:child_process';
import { openSync, statSync, truncateSync, writeSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turnOfTheLoop } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import {
  CreateSnapshotRequest,
  type CreateSnapshotResponse,
} from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { StateDatabase } from '../harness/state-database.js';
import { TestHost } from '../harness/test-host.js';

const { INSTANCE_STATE_RUNNING: RUNNING, INSTANCE_STATE_STANDBY: STANDBY } = InstanceState;
const { INSTANCE_STATE_STOPPED: STOPPED, INSTANCE_STATE_PAUSED: PAUSED } = InstanceState;
const task = (value: object) => ({
  name: 'task',
  payload: { $case: 'json' as const, json: JSON.stringify(value) },
});

/** Changes one byte of a file that keeps its size, its inode and its modification time. */
function alter(path: string, position: number): void {
  const { mtimeNs } = statSync(path, { bigint: true });
  const file = openSync(path, 'r+');
  writeSync(file, Buffer.from([0xa5]), 0, 1, position);
  closeSync(file);
  execFileSync('touch', [
    '-d',
    `@${String(mtimeNs / 1_000_000_000n)}.${String(mtimeNs % 1_000_000_000n).padStart(9, '0')}`,
    path,
  ]);
}

describe('snapshots', () => {
  let host: TestHost;
  let snapshots: SnapshotCalls;
  let base: CreateSnapshotResponse;
  beforeAll(async () => {
    host = await TestHost.start();
    snapshots = new SnapshotCalls(host);
    await host.boot('source', 'fork-worker.cjs');
    await host.logLine('source', (line) => line === 'armed');
    base = await snapshots.create({ instance: 'source', name: 'base', labels: { of: 'test' } });
  });
  afterAll(async () => {
    await snapshots.deleteAll();
    await host[Symbol.asyncDispose]();
  });

  /** The numbers an instance has said, up to so many after it said the word. */
  const countsOf = async (instance: string, atLeast: number): Promise<number[]> => {
    const numbers: number[] = [];
    for await (const line of host.logLines(instance)) {
      if (!line.startsWith('count ')) continue;
      numbers.push(Number(line.slice('count '.length)));
      if (numbers.length >= atLeast) break;
    }
    return numbers;
  };
  /** The number with which an instance went on after it had been put back so often. */
  const afterJumpBack = async (instance: string, times: number): Promise<number> => {
    let last = 0;
    let jumps = 0;
    for await (const line of host.logLines(instance)) {
      const number = Number(/^count (\d+)$/.exec(line)?.[1]);
      if (Number.isNaN(number)) continue;
      if (number <= last && ++jumps === times) return number;
      last = number;
    }
    throw new Error('the log ended');
  };
  const nothingLeft = async (names: readonly string[]): Promise<void> => {
    expect((await snapshots.list()).map(({ name }) => name)).toEqual(names);
    expect(host.machine.snapshots()).toBe(names.length);
    expect(host.machine.captures()).toBe(0);
  };

  it('of a running VM hold its moment, and the VM goes on without a jump', async () => {
    const { snapshot, sourcePause } = base;
    expect(snapshot).toMatchObject({ name: 'base', sourceName: 'source', hasMemory: true, durable: true });
    expect(Object.keys(snapshot!.checksums).sort()).toEqual(['device-state', 'disk.qcow2', 'memory', 'workload.json']);
    const { agent } = (await host.get('source')).instance!;
    expect(snapshot!.machine).toMatchObject({
      driver: 'qemu',
      driverVersion: expect.stringMatching(/^\d+\.\d+/) as string,
      machineType: expect.stringMatching(/q35/) as string,
      kernelRelease: agent!.kernelRelease,
      agentVersion: agent!.version,
    });
    expect(sourcePause!.nanos).toBeGreaterThan(0);
    expect(await countsOf('source', 30)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
    await nothingLeft(['base']);
  });

  it('are found by id, name, beginning of an id, label and instance', async () => {
    const { snapshot } = await snapshots.get('base');
    expect((await snapshots.get(snapshot!.id)).snapshot!.name).toBe('base');
    expect((await snapshots.get(snapshot!.id.slice(0, 20))).snapshot!.name).toBe('base');
    expect(await snapshots.list({ labels: { of: 'test' }, instance: 'source' })).toHaveLength(1);
    expect(await snapshots.list({ labels: { of: 'other' } })).toEqual([]);
    expect(await failureOf(snapshots.get('nothing'))).toMatchObject({
      status: 'NOT_FOUND',
      details: { reason: 'SNAPSHOT_NOT_FOUND' },
    });
  });

  it('are refused under a name that is taken, before the source is paused', async () => {
    expect(await failureOf(snapshots.create({ instance: 'source', name: 'base' }))).toMatchObject({
      status: 'ALREADY_EXISTS',
      details: { reason: 'SNAPSHOT_NAME_TAKEN' },
    });
    await nothingLeft(['base']);
  });

  it('are forked with mailboxes, one or many at a time, each with its own identity', async () => {
    const { id } = (await snapshots.get('base')).snapshot!;
    const { instance, acks } = await snapshots.fork({
      snapshot: 'base',
      name: 'one',
      mailboxes: [task({ n: 1 })],
    });
    expect(JSON.parse(acks[0]!.detail)).toMatchObject({ task: { n: 1 }, address: instance!.network!.ipv4 });
    expect(instance).toMatchObject({
      forkedFrom: (await host.get('source')).instance!.id,
      forkedFromSnapshot: id,
      state: RUNNING,
    });
    const outcomes = await snapshots.forkMany({ fork: { snapshot: 'base', name: 'job' }, count: 2 });
    const addresses = outcomes.map(({ fork }) =>
      fork?.outcome?.$case === 'fork' ? fork.outcome.fork.instance!.network!.ipv4 : '',
    );
    expect(new Set([...addresses, instance!.network!.ipv4, '']).size).toBe(4);
    for (const name of ['one', 'job-0', 'job-1']) await host.delete(name);
  });

  it('are verified byte by byte', async () => {
    expect(await snapshots.verify('base')).toMatchObject({ name: 'base', durable: true });
  });

  describe('put their instance back', () => {
    beforeEach(async () => {
      await snapshots.fork({ snapshot: 'base', name: 'one' });
      await snapshots.create({ instance: 'one', name: 'back' });
    });
    afterEach(async () => {
      if ((await host.list()).some(({ name }) => name === 'one')) await host.delete('one');
      await snapshots.delete('back');
    });

    it('to where it stood, with its own address, as often as wanted', async () => {
      const before = (await host.get('one')).instance!;
      const counted = (await countsOf('one', 1))[0]!;
      for (let round = 1; round <= 2; round++) {
        await host.logLine('one', (line) => line === `count ${String(counted + 40)}`);
        const restored = await snapshots.restore('back');
        expect(restored).toMatchObject({ id: before.id, name: 'one', state: RUNNING, network: before.network });
        const goneOnFrom = await afterJumpBack('one', round);
        expect(goneOnFrom).toBeGreaterThan(counted);
        expect(await host.traces()).toMatchObject({ processes: 2, folders: 2 });
      }
      const { acks } = await host.fork({
        source: 'one',
        name: 'of-back',
        fromRunning: true,
        mailboxes: [task({ again: 1 })],
      });
      expect(acks[0]!.detail).toContain('again');
      await host.delete('of-back');
    });

    it('also when it is parked or stopped', async () => {
      await host.standby('one');
      expect((await snapshots.restore('back')).state).toBe(RUNNING);
      await host.stop('one');
      expect((await snapshots.restore('back')).state).toBe(RUNNING);
    });

    it('to a stop where the snapshot has no memory, whose forks are stopped as well', async () => {
      await host.stop('one');
      await snapshots.create({ instance: 'one', name: 'disk' });
      expect((await snapshots.get('disk')).snapshot).toMatchObject({ hasMemory: false, durable: true });
      expect((await host.startInstance('one')).state).toBe(RUNNING);
      expect((await snapshots.restore('disk')).state).toBe(STOPPED);
      const cold = await snapshots.fork({ snapshot: 'disk', name: 'cold' });
      expect(cold.instance!.state).toBe(STOPPED);
      expect(await failureOf(snapshots.fork({ snapshot: 'disk', mailboxes: [task({})] }))).toMatchObject({
        status: 'FAILED_PRECONDITION',
        details: { reason: 'MAILBOXES_NEED_MEMORY' },
      });
      expect(await failureOf(snapshots.fork({ snapshot: 'disk', targetState: STANDBY }))).toMatchObject({
        status: 'FAILED_PRECONDITION',
        details: { reason: 'STANDBY_NEEDS_MEMORY' },
      });
      await host.delete('cold');
      await snapshots.delete('disk');
    });

    it('unless that is deleted; they are then still there to be forked', async () => {
      await host.delete('one');
      expect(await failureOf(snapshots.restore('back'))).toMatchObject({
        status: 'NOT_FOUND',
        message: expect.stringContaining('fork the snapshot instead') as string,
      });
      const { instance } = await snapshots.fork({ snapshot: 'back', name: 'late' });
      expect(instance!.state).toBe(RUNNING);
      await host.delete('late');
    });
  });

  it('can be deleted while what was forked from them lives on, and is forked', async () => {
    await snapshots.create({ instance: 'source', name: 'brief', waitDurable: false });
    await snapshots.fork({ snapshot: 'brief', name: 'heir' });
    await snapshots.delete('brief');
    const { acks } = await host.fork({
      source: 'heir',
      name: 'grandchild',
      fromRunning: true,
      mailboxes: [task({ from: 'heir' })],
    });
    expect(acks[0]!.detail).toContain('heir');
    for (const name of ['heir', 'grandchild']) await host.delete(name);
    await nothingLeft(['base']);
  });

  it.each([
    ['paused', PAUSED, () => host.pause('kept')],
    ['parked', STANDBY, () => host.standby('kept')],
  ] as const)('of a %s instance leave it so', async (_, state, rest) => {
    await snapshots.fork({ snapshot: 'base', name: 'kept' });
    await rest();
    const { sourcePause } = await snapshots.create({ instance: 'kept', name: 'at-rest', waitDurable: false });
    expect(sourcePause).toBeUndefined();
    expect((await host.get('kept')).instance!.state).toBe(state);
    await host.delete('kept');
    const { acks } = await snapshots.fork({
      snapshot: 'at-rest',
      name: 'woken',
      mailboxes: [task({ from: 'rest' })],
    });
    expect(acks[0]!.detail).toContain('rest');
    await host.delete('woken');
    await snapshots.delete('at-rest');
    await nothingLeft(['base']);
  });

  it('are forked into parked instances, which get their identity when they are restored', async () => {
    const { instance } = await snapshots.fork({ snapshot: 'base', name: 'parked', targetState: STANDBY });
    expect(instance).toMatchObject({ state: STANDBY, vmmPid: 0 });
    const { acks } = await host.fork({
      source: 'parked',
      name: 'child',
      mailboxes: [task({ of: 'parked' })],
    });
    expect(acks[0]!.detail).toContain('parked');
    const restored = await host.restore('parked');
    expect(restored.network).toEqual(instance!.network);
    const { acks: own } = await host.fork({
      source: 'parked',
      name: 'second',
      fromRunning: true,
      mailboxes: [task({})],
    });
    expect(JSON.parse(own[0]!.detail)).not.toMatchObject({ address: instance!.network!.ipv4 });
    expect(
      await failureOf(snapshots.fork({ snapshot: 'base', targetState: STANDBY, mailboxes: [task({})] })),
    ).toMatchObject({
      status: 'FAILED_PRECONDITION',
      details: { reason: 'MAILBOXES_NEED_MEMORY' },
    });
    for (const name of ['parked', 'child', 'second']) await host.delete(name);
  });

  it('become durable in the background, also when the daemon was killed before they were', async () => {
    await snapshots.create({ instance: 'source', name: 'quick', waitDurable: false });
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    while (!(await snapshots.get('quick')).snapshot!.durable);
    expect(await snapshots.verify('quick')).toMatchObject({ durable: true });
    await snapshots.delete('quick');
    await nothingLeft(['base']);
  });

  it('that were being made when the daemon was killed, or given up by their caller, are not there', async () => {
    await expect(
      host.client.unary(
        host.client.snapshots.createSnapshot.bind(host.client.snapshots),
        CreateSnapshotRequest.fromPartial({ instance: 'source', name: 'late' }),
        50,
      ),
    ).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
    const ended = new AbortController();
    const cut = snapshots
      .create({ instance: 'source', name: 'cut' })
      .catch(() => undefined)
      .finally(() => {
        ended.abort();
      });
    // Whoever waits without giving up his turn may keep the call from being sent.
    while (!ended.signal.aborted && host.machine.snapshots() < 2) await turnOfTheLoop();
    expect(host.machine.snapshots()).toBeGreaterThanOrEqual(2);
    await host.stopDaemon('SIGKILL');
    await cut;
    await host.startDaemon();
    await nothingLeft(['base']);
    await host.logLine('source', (line) => line.startsWith('count '));
  });

  describe('that are not what was left', () => {
    beforeAll(async () => {
      await snapshots.create({ instance: 'source', name: 'quick' });
    });

    const directory = async (name: string): Promise<string> => (await snapshots.get(name)).snapshot!.directory;

    it('are found out by verify, though size, time and inode are the same', async () => {
      alter(join(await directory('quick'), 'memory'), 5 * 2 ** 20);
      expect(await failureOf(snapshots.verify('quick'))).toMatchObject({
        status: 'DATA_LOSS',
        message: expect.stringMatching(/checksum of memory is [0-9a-f]{64}, was [0-9a-f]{64}/) as string,
        details: { reason: 'SNAPSHOT_ALTERED' },
      });
    });

    it('are refused before any work when a file was truncated', async () => {
      truncateSync(join(await directory('quick'), 'disk.qcow2'), 4096);
      const before = await host.traces();
      for (const use of [() => snapshots.fork({ snapshot: 'quick' }), () => snapshots.restore('quick')])
        expect(await failureOf(use())).toMatchObject({
          status: 'DATA_LOSS',
          message: expect.stringMatching(/size of disk.qcow2 is 4096, was \d+/) as string,
        });
      expect(await host.traces()).toEqual(before);
      expect((await host.get('source')).instance!.state).toBe(RUNNING);
    });

    it('are refused where the machine is another one, with both values', async () => {
      await host.stopDaemon();
      using database = StateDatabase.open(host);
      database.changeSnapshot('base', (snapshot) => ({
        ...snapshot,
        capture: { ...snapshot.capture!, machineType: 'pc-q35-2.0' },
      }));
      await host.startDaemon();
      const before = await host.traces();
      for (const use of [() => snapshots.fork({ snapshot: 'base' }), () => snapshots.restore('base')])
        expect(await failureOf(use())).toMatchObject({
          status: 'FAILED_PRECONDITION',
          message: expect.stringMatching(/machine type pc-q35-2.0, here is pc-q35-/) as string,
          details: { reason: 'CAPTURE_MISMATCH' },
        });
      expect(await host.traces()).toEqual(before);
      expect((await host.get('source')).instance!.state).toBe(RUNNING);
    });
  });
});
