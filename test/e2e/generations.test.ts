import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import {
  GetInstanceRequest,
  type GetInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { InstanceState, type InstanceStorage } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';

const MIB = 2 ** 20;
const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);

/** What test/guest/generations.cjs acknowledges with: the words of its ancestors and its own, oldest first. */
interface Kept {
  readonly inMemory: readonly string[];
  readonly onDisk: readonly string[];
  readonly count: number;
}

describe('five generations of forks', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('root', 'generations.cjs');
    await host.logLine('root', (line) => line === 'armed');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  const fork = async (source: string, name: string, word: string): Promise<Kept> => {
    const { acks } = await host.fork({
      source,
      name,
      fromRunning: true,
      mailboxes: [{ name: 'task', payload: { $case: 'json', json: JSON.stringify(word) } }],
    });
    return JSON.parse(acks[0]!.detail) as Kept;
  };
  /** Resolves once it says numbers it has not said yet. */
  const goesOn = async (name: string): Promise<void> => {
    let unread = await host.logBytes(name);
    await host.logLine(name, (line) => (unread -= line.length + 1) < 0 && countOf(line) > 0);
  };
  const storageOf = async (instance: string): Promise<InstanceStorage> => {
    const { client, instances } = host;
    const request = GetInstanceRequest.fromPartial({ instance, includeStorage: true });
    const response: GetInstanceResponse = await client.unary(instances.getInstance.bind(instances), request);
    return response.storage!;
  };

  it.each([
    ['the first to the last', [1, 2, 3, 4]],
    ['the last to the first', [4, 3, 2, 1]],
    ['those in the middle first', [3, 2, 4, 1]],
  ])('keep files and memory of their ancestors, which are deleted from %s', async (_, order) => {
    const name = (generation: number): string =>
      generation === 0 ? 'root' : `generation-${order.join('')}-${String(generation)}`;
    const words: string[] = [];
    let count = 0;
    for (let generation = 1; generation <= 5; generation++) {
      words.push(randomBytes(8).toString('hex'));
      const kept = await fork(name(generation - 1), name(generation), words.at(-1)!);
      expect({ inMemory: kept.inMemory, onDisk: kept.onDisk }).toEqual({ inMemory: words, onDisk: words });
      expect(kept.count).toBeGreaterThanOrEqual(count);
      count = kept.count;
    }
    const left = new Set([1, 2, 3, 4, 5]);
    for (const generation of order) {
      await host.delete(name(generation));
      left.delete(generation);
      for (const each of left) await goesOn(name(each));
    }

    const leaf = name(5);
    const further = [...words, 'sixth'];
    expect(await fork(leaf, 'of-running', 'sixth')).toMatchObject({ inMemory: further, onDisk: further });
    await host.standby(leaf, 'task');
    expect(await fork(leaf, 'of-parked', 'sixth')).toMatchObject({ inMemory: further, onDisk: further });
    expect((await host.restore(leaf)).state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
    await goesOn(leaf);

    // Once more without anything of the memory that the guests had.
    await host.stop('of-running');
    await host.startInstance('of-running');
    expect(await host.logLine('of-running', (line) => line.startsWith('disk'))).toBe(`disk ${further.join(' ')}`);
    for (const each of [leaf, 'of-running', 'of-parked']) await host.delete(each);
  });

  it('show what each takes of the disk alone, and what it shares with others until they go', async () => {
    await fork('root', 'parked', 'word');
    const { directory } = await host.standby('parked', 'task');
    const memory = statSync(join(directory, 'memory')).blocks * 512;
    const alone = await storageOf('parked');
    expect(Number(alone.ownBytes)).toBeGreaterThan(memory);
    expect(memory).toBeGreaterThan(20 * MIB);

    await fork('parked', 'child', 'word');
    const [shared, child] = [await storageOf('parked'), await storageOf('child')];
    for (const each of [shared, child]) expect(Number(each.sharedBytes)).toBeGreaterThanOrEqual(memory);
    expect(Number(child.ownBytes)).toBeLessThan(memory);
    // Nothing is lost between the two, whoever holds it.
    expect(Number(shared.ownBytes + shared.sharedBytes)).toBeGreaterThanOrEqual(Number(alone.ownBytes));

    await host.delete('parked');
    expect(Number((await storageOf('child')).ownBytes)).toBeGreaterThanOrEqual(memory);
    expect((await host.get('child')).storage).toBeUndefined();
    await host.delete('child');
  });

  it('outlive the instance they all come from', async () => {
    await fork('root', 'first', 'first');
    await fork('first', 'second', 'second');
    await host.delete('root');
    await goesOn('first');
    expect(await fork('second', 'third', 'third')).toMatchObject({ inMemory: ['first', 'second', 'third'] });
    for (const each of ['first', 'second', 'third']) await host.delete(each);
    expect(await host.traces()).toEqual({ rows: [], folders: 0, processes: 0, taps: 0 });
  });
});
