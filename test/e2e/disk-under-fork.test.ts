import { join } from 'node:path';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { durableOf, recordsOn, saidDurable } from '../harness/disk-records.js';
import { TestHost } from '../harness/test-host.js';

const diskOf = ({ directory }: { directory: string }): string => join(directory, 'disk.qcow2');

describe('forks of a VM that writes to its disk all the while', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('source', 'disk-writer.cjs');
    await host.logLine('source', (line) => durableOf(line) >= 100);
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  it.each([
    ['first', true],
    ['second', true],
    ['third', true],
    ['first', false],
    ['second', false],
  ])(
    'have a clean file system, and on it what their memory says is there: the %s, workload frozen: %s',
    async (which, freezeWorkload) => {
      const name = `${which}-${freezeWorkload ? 'frozen' : 'running'}`;
      const before = await saidDurable(host, 'source');
      const { acks } = await host.fork({
        source: 'source',
        name,
        fromRunning: true,
        freezeWorkload,
        mailboxes: [{ name: 'task', payload: { $case: 'json', json: '{}' } }],
      });
      const inMemory = Number(acks[0]!.detail);
      expect(inMemory).toBeGreaterThanOrEqual(before);
      const whole = await recordsOn(diskOf(await host.pause(name)));
      // One more at most: that which was on its way to the disk when the fork was told to stop.
      expect(whole).toBeGreaterThanOrEqual(inMemory);
      expect(whole).toBeLessThanOrEqual(inMemory + 1);
      await host.delete(name);
    },
  );

  it.each([true, false])(
    'have on their disk, at the moment of the capture, all that was said to be there: workload frozen: %s',
    async (freezeWorkload) => {
      const before = await saidDurable(host, 'source');
      const { instance } = await host.fork({
        source: 'source',
        name: 'disk',
        fromRunning: true,
        freezeWorkload,
        targetState: InstanceState.INSTANCE_STATE_STOPPED,
      });
      expect(await recordsOn(diskOf(instance!))).toBeGreaterThanOrEqual(before);
      await host.delete('disk');
    },
  );

  it('leave the source writing', async () => {
    const before = await saidDurable(host, 'source');
    expect(durableOf(await host.logLine('source', (line) => durableOf(line) > before))).toBeGreaterThan(before);
  });
});
