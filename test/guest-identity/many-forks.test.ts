import type { Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';
import { bootProbe, type Probe } from './identity-probe.js';

const COUNT = 20;
const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);

/** What a fork was told to be, and what it found itself to be. */
interface Fork {
  readonly instance: Instance;
  readonly probe: Probe;
}

describe('twenty forks of one running VM in one call', () => {
  let host: TestHost;
  let source: Instance;
  const forks: Fork[] = [];
  beforeAll(async () => {
    host = await TestHost.start();
    source = await bootProbe(host, ['count'], 'count 5');
    const outcomes = await host.forkMany({
      fork: {
        source: 'source',
        name: 'job',
        fromRunning: true,
        // Their answers are awaited below: twenty guests at once may take longer than an ack may.
        mailboxes: [{ name: 'task', payload: { $case: 'json', json: '{}' }, waitForAck: false }],
      },
      count: COUNT,
    });
    const made = new Map<number, Instance>();
    for (const { index, outcome } of outcomes)
      if (outcome?.$case === 'fork') made.set(index, outcome.fork.instance!);
      else expect.fail(`fork ${String(index)}: ${outcome?.failure.message ?? 'no outcome'}`);
    expect([...made.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: COUNT }, (_, index) => index));
    for (const instance of made.values()) {
      const said = await host.logLine(instance.id, (line) => line.startsWith('probe '));
      forks.push({ instance, probe: JSON.parse(said.slice('probe '.length)) as Probe });
    }
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  it.each<[string, (fork: Fork) => string]>([
    ['MAC addresses', ({ probe }) => probe.identity.mac],
    ['IPv4 addresses', ({ probe }) => probe.identity.ipv4],
    ['hostnames', ({ probe }) => probe.identity.hostname],
    ['hostnames on their disks', ({ probe }) => probe.files.hostname],
    ['machine ids', ({ probe }) => probe.identity.machineId],
    ['machine ids on their disks', ({ probe }) => probe.files.machineId],
    ['32 first bytes of /dev/urandom', ({ probe }) => probe.random],
    ['random UUIDs of a fresh process', ({ probe }) => probe.uuid],
  ])('have twenty different %s', (_, of) => {
    expect(new Set(forks.map(of)).size).toBe(COUNT);
  });

  it('are inside what the host made them, and none of them is the source', () => {
    for (const { instance, probe } of forks) {
      const { mac, ipv4 } = instance.network!;
      expect(probe.identity).toMatchObject({ hostname: instance.name, mac, ipv4 });
      expect(probe.identity.ipv4).not.toBe(source.network!.ipv4);
      expect(probe.identity.mac).not.toBe(source.network!.mac);
    }
  });

  it('leave the counter of the source as if nothing had been', async () => {
    const said = await host.logBytes('source');
    let [last, bytes] = [0, 0];
    for await (const line of host.logLines('source')) {
      bytes += line.length + 1;
      if (!line.startsWith('count ')) continue;
      expect(countOf(line)).toBe(last + 1);
      last = countOf(line);
      if (bytes > said) break;
    }
    expect(last).toBeGreaterThan(5);
  });

  it('leave nothing but themselves', async () => {
    const count = COUNT + 1;
    expect(await host.traces()).toMatchObject({ folders: count, processes: count });
    expect(host.machine.captures()).toBe(0);
  });
});
