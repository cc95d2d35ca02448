import { InstanceState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { TestHost } from '../harness/test-host.js';

const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);
const task = (value: object) => ({
  name: 'task',
  payload: { $case: 'json' as const, json: JSON.stringify(value) },
});
const ms = (duration: { seconds: bigint; nanos: number } | undefined): number =>
  Number(duration?.seconds) * 1000 + (duration?.nanos ?? 0) / 1e6;

describe('forks of a running VM', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('source', 'fork-worker.cjs');
    await host.logLine('source', (line) => line === 'armed');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  /** The source's numbers so far: one missing or twice would show that it jumped. */
  const sourceCounts = async (atLeast: number): Promise<number> => {
    let last = 0;
    for await (const line of host.logLines('source')) {
      if (!line.startsWith('count ')) continue;
      expect(countOf(line)).toBe(last + 1);
      last = countOf(line);
      if (last >= atLeast) break;
    }
    return last;
  };

  it('are refused unless they are asked for as such', async () => {
    expect(await failureOf(host.fork({ source: 'source' }))).toMatchObject({
      status: 'FAILED_PRECONDITION',
      message: expect.stringContaining('from_running') as string,
    });
  });

  // The first capture of a VM booted here moves it to another VMM; the later ones are of a private clone.
  it.each(['first', 'second', 'third'])('leave the source running without a jump: the %s', async (which) => {
    const before = (await host.get('source')).instance!;
    const { instance, acks, timings } = await host.fork({
      source: 'source',
      name: which,
      fromRunning: true,
      mailboxes: [task({ which })],
    });
    expect(JSON.parse(acks[0]!.detail)).toMatchObject({ task: { which }, address: instance!.network!.ipv4 });
    expect(ms(timings!.sourcePause)).toBeGreaterThan(0);
    const after = (await host.get('source')).instance!;
    expect({ ...after, vmmPid: 0 }).toEqual({ ...before, vmmPid: 0 });
    expect(after.vmmPid === before.vmmPid).toBe(which !== 'first');
    await sourceCounts(20);
    expect(await host.traces()).toMatchObject({ processes: (await host.list()).length });
    expect(host.machine.captures()).toBe(0);
  });

  it('can be forked while they run, to the fifth generation, each with what its ancestors had', async () => {
    let parent = 'first';
    for (let generation = 2; generation <= 5; generation++) {
      const name = `generation-${generation}`;
      const { acks } = await host.fork({
        source: parent,
        name,
        fromRunning: true,
        mailboxes: [task({ generation })],
      });
      expect(acks[0]!.detail).toContain(`"generation":${generation}`);
      if (parent !== 'first') await host.delete(parent);
      parent = name;
    }
    const counted = countOf(await host.logLine(parent, (line) => line.startsWith('count ')));
    expect(counted).toBeGreaterThan(20);
    await host.delete(parent);
  });

  it('go on after a restart of the daemon: source and forks can be forked again', async () => {
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    const { acks } = await host.fork({
      source: 'source',
      name: 'after-restart',
      fromRunning: true,
      mailboxes: [task({ after: 'restart' })],
    });
    expect(acks[0]!.detail).toContain('restart');
    await sourceCounts(40);
    for (const name of ['first', 'second', 'third', 'after-restart']) await host.delete(name);
  });

  describe('in one call', () => {
    it('are all of one moment, and each its own', async () => {
      const outcomes = await host.forkMany({
        fork: { source: 'source', name: 'job', fromRunning: true },
        count: 4,
        mailboxesByIndex: [0, 1, 2, 3].map((index) => ({ mailboxes: [task({ index })] })),
      });
      const forks = new Map<number, ForkInstanceResponse>();
      for (const { index, outcome } of outcomes) if (outcome?.$case === 'fork') forks.set(index, outcome.fork);
      expect([...forks.keys()].sort()).toEqual([0, 1, 2, 3]);
      for (const [index, { instance, acks }] of forks) {
        expect(instance!.name).toBe(`job-${index}`);
        expect(JSON.parse(acks[0]!.detail)).toMatchObject({ task: { index }, address: instance!.network!.ipv4 });
      }
      const of = (pick: (instance: Instance) => string): number =>
        new Set([...forks.values()].map(({ instance }) => pick(instance!))).size;
      expect([of(({ id }) => id), of(({ network }) => network!.mac), of(({ network }) => network!.ipv4)]).toEqual([
        4, 4, 4,
      ]);
      for (const { instance } of forks.values()) await host.delete(instance!.id);
    });

    const withOneThatFails = (allOrNothing: boolean) => ({
      fork: { source: 'source', name: 'job', fromRunning: true },
      count: 3,
      mailboxesByIndex: [{ index: 0 }, { fail: 'not this one' }, { index: 2 }].map((value) => ({
        mailboxes: [task(value)],
      })),
      allOrNothing,
    });

    it('stand, when another one fails; that one is told and removed', async () => {
      const outcomes = await host.forkMany(withOneThatFails(false));
      const failure = outcomes.find(({ outcome }) => outcome?.$case === 'failure');
      expect(failure).toMatchObject({
        index: 1,
        outcome: {
          failure: { code: 10, reason: 'GUEST_FAILED', message: expect.stringContaining('not this one') as string },
        },
      });
      expect((await host.traces()).rows).toEqual(['job-0', 'job-2', 'source']);
      for (const name of ['job-0', 'job-2']) await host.delete(name);
    });

    it('are all removed when one fails and all or nothing was asked for', async () => {
      const failure = await failureOf(host.forkMany(withOneThatFails(true)));
      expect(failure).toMatchObject({ status: 'ABORTED', details: { reason: 'GUEST_FAILED' } });
      expect(await host.traces()).toMatchObject({ rows: ['source'], folders: 1, processes: 1, taps: 1 });
    });

    it.each([
      ['0', { count: 0 }, 'INVALID_ARGUMENT', /count: must be 1 to 256/],
      ['257', { count: 257 }, 'INVALID_ARGUMENT', /count: must be 1 to 256/],
      [
        '2, with mailboxes for 1',
        { count: 2, mailboxesByIndex: [{ mailboxes: [] }] },
        'INVALID_ARGUMENT',
        /entry for each/,
      ],
      ['2, under a name that is taken', { count: 2, taken: 'job-1' }, 'ALREADY_EXISTS', /job-1/],
    ])(
      'are refused before any work: %s of them',
      async (_, { taken, ...request }: { taken?: string; count: number }, status, message) => {
        if (taken !== undefined) await host.fork({ source: 'source', name: taken, fromRunning: true });
        const before = await host.traces();
        const failure = await failureOf(
          host.forkMany({ fork: { source: 'source', name: 'job', fromRunning: true }, ...request }),
        );
        expect(failure).toMatchObject({ status, message: expect.stringMatching(message) as string });
        expect(await host.traces()).toEqual(before);
        if (taken !== undefined) await host.delete(taken);
      },
    );
  });

  it('leave a paused source paused', async () => {
    await host.pause('source');
    const { instance } = await host.fork({ source: 'source', name: 'of-paused', fromRunning: true });
    expect(instance!.state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
    expect((await host.get('source')).instance!.state).toBe(InstanceState.INSTANCE_STATE_PAUSED);
    await host.resume('source');
    await sourceCounts(60);
  });
});
