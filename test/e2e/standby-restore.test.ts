import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { TestHost } from '../harness/test-host.js';

describe('a parked VM', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('counter', 'counter.cjs');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  const counted = async (atLeast: number): Promise<number[]> => {
    const numbers: number[] = [];
    for await (const line of host.logLines('counter')) {
      const match = /^count (\d+)$/.exec(line);
      if (match === null) continue;
      numbers.push(Number(match[1]));
      if (numbers.length >= atLeast) break;
    }
    return numbers;
  };
  const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

  it('goes on counting where it stood, again and again, and its log misses nothing', async () => {
    let length = 3;
    expect(await counted(length)).toEqual(upTo(length));
    // The second and third round park a VM whose memory is a private mapping: a capture of another kind.
    for (let round = 1; round <= 3; round++) {
      const parked = await host.standby('counter');
      expect(parked.state).toBe(InstanceState.INSTANCE_STATE_STANDBY);
      expect(parked.vmmPid).toBe(0);
      expect(await host.traces()).toMatchObject({ processes: 0, taps: 0 });
      const restored = await host.restore('counter');
      expect(restored.state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
      expect(restored.network).toEqual(parked.network);
      length += 10;
      expect(await counted(length)).toEqual(upTo(length));
    }
  });

  it('shuts down through its agent and keeps its disk', async () => {
    const stopped = await host.stop('counter');
    expect(stopped.state).toBe(InstanceState.INSTANCE_STATE_STOPPED);
    expect(host.daemon.log).not.toContain('did not shut down by itself');
  });
});
