import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';

/** What test/guest/fork-worker.cjs acknowledges with. */
interface Answer {
  readonly task: { readonly number: number };
  readonly address: string;
  readonly mac: string;
}

const task = (value: object) => ({ name: 'task', payload: { $case: 'json' as const, json: JSON.stringify(value) } });
const answerOf = (fork: ForkInstanceResponse): Answer => JSON.parse(fork.acks[0]!.detail) as Answer;
const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);

async function checksum(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

describe('three forks of one parked VM', () => {
  let host: TestHost;
  let source: Instance;
  let memoryBefore: string;
  let countBefore: number;
  let forks: ForkInstanceResponse[];
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('source', 'fork-worker.cjs');
    countBefore = countOf(await host.logLine('source', (line) => countOf(line) > 3));
    source = await host.standby('source', 'task');
    memoryBefore = await checksum(join(source.directory, 'memory'));
    forks = await Promise.all(
      [1, 2, 3].map((number) =>
        host.fork({
          source: 'source',
          name: `fork-${number}`,
          labels: { number: String(number) },
          mailboxes: [task({ number })],
        }),
      ),
    );
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  it('each find their own payload in their memory', () => {
    expect(forks.map((fork) => answerOf(fork).task)).toEqual([{ number: 1 }, { number: 2 }, { number: 3 }]);
  });

  it('each have an identity of their own, on the host and inside', () => {
    const all = [source, ...forks.map(({ instance }) => instance!)];
    for (const of of [
      (each: Instance) => each.id,
      (each: Instance) => each.name,
      (each: Instance) => each.network!.mac,
      (each: Instance) => each.network!.ipv4,
      (each: Instance) => each.directory,
    ])
      expect(new Set(all.map(of)).size).toBe(4);
    for (const fork of forks) {
      const { address, mac } = answerOf(fork);
      expect({ ipv4: address, mac }).toMatchObject({
        ipv4: fork.instance!.network!.ipv4,
        mac: fork.instance!.network!.mac,
      });
      expect(fork.instance!.forkedFrom).toBe(source.id);
    }
  });

  it('run at the same time, each under a hypervisor of its own, while the source stays parked', async () => {
    const instances = await host.list();
    const running = instances.filter(({ state }) => state === InstanceState.INSTANCE_STATE_RUNNING);
    expect(running.map(({ name }) => name).sort()).toEqual(['fork-1', 'fork-2', 'fork-3']);
    expect(new Set(running.map(({ vmmPid }) => vmmPid)).size).toBe(3);
    expect(await host.traces()).toMatchObject({ processes: 3, folders: 4 });
    expect(instances.find(({ name }) => name === 'source')?.state).toBe(InstanceState.INSTANCE_STATE_STANDBY);
  });

  it('go on from where the source stood', async () => {
    const first = countOf(await host.logLine('fork-1', (line) => line.startsWith('count ')));
    expect(first).toBeGreaterThan(countBefore);
    // What the source had said stays in the source's log.
    expect(first).toBeLessThan(countBefore + 1000);
    const again = countOf(await host.logLine('fork-1', (line) => countOf(line) > first + 3));
    expect(again).toBe(first + 4);
  });

  it('leave the memory they share as it was', async () => {
    expect(await checksum(join(source.directory, 'memory'))).toBe(memoryBefore);
  });

  it('say where their time went', () => {
    for (const { timings } of forks) {
      const ms = ({ seconds, nanos }: { seconds: bigint; nanos: number }): number =>
        Number(seconds) * 1000 + nanos / 1e6;
      const phases = (['clone', 'spawn', 'load', 'patch', 'resume'] as const).map((phase) => ms(timings![phase]!));
      for (const phase of phases) expect(phase).toBeGreaterThan(0);
      expect(ms(timings!.network!)).toBeGreaterThan(0);
      expect(ms(timings!.ack!)).toBeGreaterThanOrEqual(ms(timings!.network!));
      const sum = phases.reduce((a, b) => a + b) + ms(timings!.ack!);
      expect(ms(timings!.total!)).toBeGreaterThanOrEqual(sum);
    }
  });

  it('are told apart by label and listed page by page', async () => {
    const { client, instances } = host;
    const request = { pageSize: 2, pageToken: '', states: [], labels: {} };
    const list = instances.listInstances.bind(instances);
    const first = await client.unary(list, request);
    const second = await client.unary(list, { ...request, pageToken: first.nextPageToken });
    const paged = [...first.instances, ...second.instances];
    // Oldest first; which of forks begun together is older is not said.
    expect(paged.map(({ id }) => id)).toEqual(paged.map(({ id }) => id).sort());
    expect(paged[0]!.name).toBe('source');
    expect(paged.map(({ name }) => name).sort()).toEqual(['fork-1', 'fork-2', 'fork-3', 'source']);
    const labelled = await client.unary(list, { ...request, labels: { number: '2' } });
    expect(labelled.instances.map(({ name }) => name)).toEqual(['fork-2']);
  });

  it('can be parked, restored and forked themselves', async () => {
    await host.standby('fork-3', 'task');
    const grandchild = await host.fork({
      source: 'fork-3',
      name: 'grandchild',
      mailboxes: [task({ number: 33 })],
    });
    expect(answerOf(grandchild)).toMatchObject({
      task: { number: 33 },
      address: grandchild.instance!.network!.ipv4,
    });
    await host.delete('grandchild');
    expect((await host.restore('fork-3')).state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
  });

  it('outlive the source', async () => {
    await host.delete('source', false);
    for (const name of ['fork-1', 'fork-2', 'fork-3']) {
      // More numbers than can have been said before the deletion.
      const seen = await host.logBytes(name);
      let bytes = 0;
      await host.logLine(name, (line) => (bytes += line.length + 1) > seen && line.startsWith('count '));
    }
    expect(await host.traces()).toMatchObject({ rows: ['fork-1', 'fork-2', 'fork-3'], processes: 3 });
  });
});
