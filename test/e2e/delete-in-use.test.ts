import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstancesResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { TestHost } from '../harness/test-host.js';

const COUNT = 6;
const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);

describe('deleting what forks are being made of', () => {
  let host: TestHost;
  let snapshots: SnapshotCalls;
  beforeAll(async () => {
    host = await TestHost.start();
    snapshots = new SnapshotCalls(host);
    await host.boot('origin', 'counter.cjs', { memoryBytes: 256n * 2n ** 20n });
    await host.logLine('origin', (line) => countOf(line) > 2);
    await host.standby('origin');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  /** Removes the source while the first of its forks is being made, and looks at the forks when it is gone. */
  const assertForksStand = async (
    forks: Promise<readonly ForkInstancesResponse[]>,
    name: string,
    remove: () => Promise<void>,
  ) => {
    await host.untilListed(`${name}-0`);
    const order: string[] = [];
    await Promise.all([forks.then(() => order.push('forks')), remove().then(() => order.push('removed'))]);
    expect(order).toEqual(['forks', 'removed']);
    expect((await forks).map(({ outcome }) => outcome?.$case)).toEqual(Array.from({ length: COUNT }, () => 'fork'));
    for (let index = 0; index < COUNT; index++) {
      const fork = `${name}-${String(index)}`;
      expect((await host.get(fork)).instance!.state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
      let seen = 0;
      await host.logLine(fork, (line) => !Number.isNaN(countOf(line)) && ++seen > 3);
      await host.delete(fork);
    }
  };

  it('waits until they stand, of an instance', async () => {
    await host.fork({ source: 'origin', name: 'base', targetState: InstanceState.INSTANCE_STATE_STANDBY });
    const forks = host.forkMany({ fork: { source: 'base', name: 'child' }, count: COUNT });
    await assertForksStand(forks, 'child', () => host.delete('base', false));
    expect((await host.list()).map(({ name }) => name)).toEqual(['origin']);
  });

  it('waits until they stand, of a snapshot', async () => {
    await snapshots.create({ instance: 'origin', name: 'moment' });
    const forks = snapshots.forkMany({ fork: { snapshot: 'moment', name: 'heir' }, count: COUNT });
    const made = forks.then((answers) => answers.map(({ fork }) => fork!));
    await assertForksStand(made, 'heir', () => snapshots.delete('moment'));
    expect(await snapshots.list()).toEqual([]);
    expect(host.machine.snapshots()).toBe(0);
  });

  it('is refused for one that runs, unless forced', async () => {
    await host.fork({ source: 'origin', name: 'runs' });
    await expect(host.delete('runs', false)).rejects.toThrow('FAILED_PRECONDITION');
    await host.delete('runs');
  });
});
