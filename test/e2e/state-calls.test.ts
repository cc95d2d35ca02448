import { ALLOWED_STATES, type InstanceCall } from '@offshoot/host-agent/domain/instance-state.js';
import { InstanceState as WireState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { TestHost } from '../harness/test-host.js';

const STATES = ['RUNNING', 'PAUSED', 'STANDBY', 'STOPPED', 'FAILED'] as const;
type Column = (typeof STATES)[number];

/**
 * What each call leads to, for STATES from left to right: a state of the instance, `GONE`, `KEPT` in a snapshot or a state of
 * the new fork after `+` while the instance stays as it is, or `-`, refused. Written from the specification, not from the daemon's table.
 */
const OUTCOMES: Readonly<Record<InstanceCall, string>> = {
  start: '       -        -        -        RUNNING  RUNNING',
  pause: '       PAUSED   -        -        -        -',
  resume: '      -        RUNNING  -        -        -',
  standby: '     STANDBY  STANDBY  -        -        -',
  restore: '     -        -        RUNNING  -        -',
  fork: '        -        -        +RUNNING +STOPPED -',
  forkRunning: ' +RUNNING +RUNNING +RUNNING +STOPPED -',
  snapshot: '    KEPT     KEPT     KEPT     KEPT     -',
  setBack: '     RUNNING  RUNNING  RUNNING  RUNNING  RUNNING',
  stop: '        STOPPED  STOPPED  STOPPED  -        STOPPED',
  delete: '      -        -        GONE     GONE     GONE',
  forceDelete: ' GONE     GONE     GONE     GONE     GONE',
};
const CALLS = Object.keys(OUTCOMES) as InstanceCall[];

const outcomeOf = (call: InstanceCall, state: Column): string =>
  OUTCOMES[call].trim().split(/ +/)[STATES.indexOf(state)]!;
const pairs = (wanted: (outcome: string) => boolean): { state: Column; call: InstanceCall; outcome: string }[] =>
  STATES.flatMap((state) => CALLS.map((call) => ({ state, call, outcome: outcomeOf(call, state) }))).filter(
    ({ outcome }) => wanted(outcome),
  );
const nameOf = ({ state }: Instance): string => WireState[state].replace('INSTANCE_STATE_', '');

/** Whoever is forked here is not asked anything: the state alone counts. */
const quick = { waitForNetwork: false };

describe('a call', () => {
  let host: TestHost;
  let snapshots: SnapshotCalls;
  beforeAll(async () => {
    host = await TestHost.start();
    snapshots = new SnapshotCalls(host);
    await host.boot('origin', 'counter.cjs');
    await host.logLine('origin', (line) => line === 'count 1');
    await host.standby('origin');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  /** A new instance, in the state by the shortest way there. */
  const make = async (name: string, state: Column): Promise<Instance> => {
    const targetState = state === 'STOPPED' ? WireState.INSTANCE_STATE_STOPPED : WireState.INSTANCE_STATE_RUNNING;
    const { instance } = await host.fork({ ...quick, source: 'origin', name, targetState });
    if (state === 'PAUSED') return host.pause(name);
    if (state === 'STANDBY') return host.standby(name);
    if (state !== 'FAILED') return instance!;
    process.kill(instance!.vmmPid, 'SIGKILL');
    return host.untilState(name, WireState.INSTANCE_STATE_FAILED);
  };

  /** The same, but a moment in which it ran is kept, to which it can be set back. */
  const makeWithMoment = async (name: string, state: Column): Promise<Instance> => {
    const running = await make(name, 'RUNNING');
    await snapshots.create({ instance: name, name: 'moment', waitDurable: false });
    if (state === 'PAUSED') return host.pause(name);
    if (state === 'STANDBY') return host.standby(name);
    if (state === 'STOPPED') return host.stop(name);
    if (state !== 'FAILED') return running;
    process.kill((await host.get(name)).instance!.vmmPid, 'SIGKILL');
    return host.untilState(name, WireState.INSTANCE_STATE_FAILED);
  };

  /** @returns the fork, where the call makes one */
  const perform = async (call: InstanceCall, name: string): Promise<Instance | undefined> => {
    switch (call) {
      case 'start':
        await host.startInstance(name);
        return undefined;
      case 'fork':
      case 'forkRunning':
        return (await host.fork({ ...quick, source: name, name: 'fork', fromRunning: call === 'forkRunning' }))
          .instance;
      case 'delete':
      case 'forceDelete':
        await host.delete(name, call === 'forceDelete');
        return undefined;
      case 'snapshot':
        await snapshots.create({ instance: name, name: 'kept', waitDurable: false });
        return undefined;
      case 'setBack':
        await snapshots.restore('moment');
        return undefined;
      default:
        await host[call](name);
        return undefined;
    }
  };

  it('is allowed by the table of the daemon exactly where the specification allows it', () => {
    expect(Object.keys(ALLOWED_STATES).sort()).toEqual([...CALLS].sort());
    for (const call of CALLS)
      expect([...ALLOWED_STATES[call].states].sort(), call).toEqual(
        STATES.filter((state) => outcomeOf(call, state) !== '-').sort(),
      );
  });

  describe.each(STATES)('that is not allowed for an instance that is %s', (state) => {
    const refused = pairs((outcome) => outcome === '-').filter((pair) => pair.state === state);
    beforeAll(async () => {
      await make('vm', state);
    });
    afterAll(async () => {
      await host.delete('vm');
    });

    it.each(refused)('is refused: $call', async ({ call }) => {
      const before = { instance: (await host.get('vm')).instance, traces: await host.traces() };
      const failure = await failureOf(perform(call, 'vm'));
      const allowed = STATES.filter((each) => outcomeOf(call, each) !== '-');
      expect(failure).toMatchObject({ status: 'FAILED_PRECONDITION', details: { reason: 'INSTANCE_STATE' } });
      const { metadata } = failure.details;
      expect({ instance: metadata.instance, state: metadata.state }).toEqual({ instance: 'vm', state });
      expect(metadata.allowed!.split(',').sort()).toEqual([...allowed].sort());
      expect(failure.message).toContain(`vm is ${state}`);
      // The states that would do, and the way there.
      for (const each of allowed) expect(failure.message).toContain(each);
      expect(failure.message).toMatch(/: .{10,}$/);
      expect({ instance: (await host.get('vm')).instance, traces: await host.traces() }).toEqual(before);
      expect(host.machine.captures()).toBe(0);
    });
  });

  it.each(pairs((outcome) => outcome !== '-'))(
    '$call of an instance that is $state leads to $outcome',
    async ({ state, call, outcome }) => {
      const before = await (call === 'setBack' ? makeWithMoment : make)('vm', state);
      const fork = await perform(call, 'vm');
      if (outcome === 'GONE') {
        expect((await host.traces()).rows).toEqual(['origin']);
        expect(await failureOf(host.get('vm'))).toMatchObject({ status: 'NOT_FOUND' });
        return;
      }
      const { instance } = await host.get('vm');
      if (outcome === 'KEPT') {
        // A VM booted elsewhere would have another VMM now; this one is a fork and keeps its own.
        expect(instance).toEqual(before);
        expect((await snapshots.list()).map(({ name }) => name)).toEqual(['kept']);
      } else if (fork === undefined) expect(nameOf(instance!)).toBe(outcome);
      else {
        expect(`+${nameOf(fork)}`).toBe(outcome);
        expect(fork.forkedFrom).toBe(before.id);
        expect(instance).toEqual(before);
        await host.delete('fork');
      }
      expect(instance!.vmmPid > 0).toBe(['RUNNING', 'PAUSED'].includes(nameOf(instance!)));
      await snapshots.deleteAll();
      await host.delete('vm');
    },
  );
});
