import { OPERATION_STEPS } from '@offshoot/host-agent/domain/operations.js';
import { InstanceState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstancesResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { CutShortHost } from '../harness/cut-short-host.js';
import type { TestHost } from '../harness/test-host.js';

const task = (json: string) => ({ name: 'task', payload: { $case: 'json' as const, json } });

describe('a request with an id', () => {
  let cut: CutShortHost;
  let host: TestHost;
  let ids = 0;
  const nextId = (): string => `request ${String(++ids)}`;
  const fork = (change: Parameters<TestHost['fork']>[0]) => host.fork({ source: 'parked', ...change });
  const forkThree = (requestId: string, allOrNothing = false) =>
    host.forkMany({
      fork: { source: 'parked', mailboxes: [task('{}')], labels: { requestId } },
      count: 3,
      allOrNothing,
      requestId,
    });
  /** Those made for a request, which bear its id as a label and no name of the caller's: nothing else keeps two apart. */
  const madeFor = async (requestId: string): Promise<readonly Instance[]> =>
    (await host.list()).filter(({ labels }) => labels.requestId === requestId);
  const instancesOf = (outcomes: readonly ForkInstancesResponse[]): string[] =>
    outcomes.map(({ outcome }) => (outcome?.$case === 'fork' ? outcome.fork.instance!.id : 'failed')).sort();
  const removeForks = async (): Promise<void> => {
    for (const { id, name } of await host.list()) if (name !== 'parked') await host.delete(id);
  };

  beforeAll(async () => {
    cut = await CutShortHost.start();
    host = cut.host;
    await host.boot('parked', 'fork-worker.cjs', { memoryBytes: 256n * 2n ** 20n });
    await host.standby('parked', 'task');
  });
  afterAll(() => cut[Symbol.asyncDispose]());

  it('that is repeated gets its first answer, acks and timings included, also from the next daemon', async () => {
    const requestId = nextId();
    const request = { requestId, labels: { requestId }, mailboxes: [task('{"a": 1}')] };
    const first = await fork(request);
    expect(first.acks[0]!.detail).toContain('"a":1');
    expect(await fork(request)).toEqual(first);
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    expect(await fork(request)).toEqual(first);
    expect(await madeFor(requestId)).toHaveLength(1);
  });

  it('that comes while the first is under way joins it', async () => {
    const requestId = nextId();
    const request = { requestId, labels: { requestId } };
    const [first, second] = await Promise.all([fork(request), fork(request)]);
    expect(second).toEqual(first);
    expect(await madeFor(requestId)).toHaveLength(1);
  });

  it('is refused when the id was that of another request, and nothing is done', async () => {
    const requestId = nextId();
    await fork({ requestId });
    const before = await host.traces();
    const refusal = { status: 'INVALID_ARGUMENT', details: { reason: 'REQUEST_ID_REUSED' } };
    expect(await failureOf(fork({ requestId, labels: { other: 'request' } }))).toMatchObject(refusal);
    expect(await failureOf(forkThree(requestId))).toMatchObject(refusal);
    expect(await failureOf(fork({ requestId: 'a'.repeat(129) }))).toMatchObject({ status: 'INVALID_ARGUMENT' });
    expect(await host.traces()).toEqual(before);
  });

  it('that failed is tried anew', async () => {
    const request = { requestId: nextId(), name: 'wanted' };
    await fork({ name: 'wanted' });
    expect(await failureOf(fork(request))).toMatchObject({ status: 'ALREADY_EXISTS' });
    await host.delete('wanted');
    expect((await fork(request)).instance!.name).toBe('wanted');
    await removeForks();
  });

  it('for several forks makes only those that are missing', async () => {
    const requestId = nextId();
    const stream = host.client.stream(host.instances.forkInstances.bind(host.instances), {
      fork: undefined,
      mailboxesByIndex: [],
      count: 3,
      allOrNothing: false,
      requestId,
    });
    expect(await failureOf(stream.next())).toMatchObject({ status: 'INVALID_ARGUMENT' });
    const first = await forkThree(requestId);
    expect(instancesOf(await forkThree(requestId))).toEqual(instancesOf(first));
    expect((await madeFor(requestId)).map(({ id }) => id).sort()).toEqual(instancesOf(first));
    await removeForks();
  });

  it.each(OPERATION_STEPS['fork-memory'])(
    'makes exactly one fork when it is repeated after the daemon was killed after "%s"',
    async (step) => {
      const requestId = nextId();
      const request = { requestId, labels: { requestId }, mailboxes: [task('{}')] };
      const [found] = await cut.killAfter(`fork-memory: ${step}`, () => fork(request));
      expect(found).toMatchObject({ requestId });
      const left = await madeFor(requestId);
      expect(left).toHaveLength(found!.outcome === 'finished' ? 1 : 0);
      const { instance, acks } = await fork(request);
      expect(acks).toHaveLength(1);
      if (left.length === 1) expect(instance!.id).toBe(left[0]!.id);
      expect((await madeFor(requestId)).map(({ id }) => id)).toEqual([instance!.id]);
      expect(cut.leftovers()).toEqual([]);
      await removeForks();
    },
  );

  it('for several forks keeps those that stood when the daemon was killed, and makes the others', async () => {
    const requestId = nextId();
    await cut.killAfter('fork-memory: record', () => forkThree(requestId), 2);
    const left = (await madeFor(requestId)).map(({ id }) => id);
    expect(left).toHaveLength(2);
    const made = instancesOf(await forkThree(requestId));
    expect(made).toEqual(expect.arrayContaining(left));
    expect((await madeFor(requestId)).map(({ id }) => id).sort()).toEqual(made);
    await removeForks();
  });

  it('for all forks or none has none when the daemon was killed before the last, and all when it is repeated', async () => {
    const requestId = nextId();
    await cut.killAfter('fork-memory: record', () => forkThree(requestId, true), 2);
    expect(await madeFor(requestId)).toEqual([]);
    expect(cut.leftovers()).toEqual([]);
    const made = instancesOf(await forkThree(requestId, true));
    expect((await madeFor(requestId)).map(({ id }) => id).sort()).toEqual(made);
    expect(instancesOf(await forkThree(requestId, true))).toEqual(made);
    await removeForks();
  });

  it('to change or remove an instance is carried out once, also when the daemon was killed in the middle', async () => {
    await fork({ name: 'subject' });
    const { instances, client } = host;
    const pause = { instance: 'subject', requestId: nextId() };
    const { instance } = await client.unary(instances.pauseInstance.bind(instances), pause);
    expect(instance!.state).toBe(InstanceState.INSTANCE_STATE_PAUSED);
    await host.resume('subject');
    // The first answer, and no second pause.
    expect(await client.unary(instances.pauseInstance.bind(instances), pause)).toEqual({ instance });
    expect((await host.get('subject')).instance!.state).toBe(InstanceState.INSTANCE_STATE_RUNNING);

    const remove = { instance: 'subject', force: true, requestId: nextId() };
    const removed = () => host.client.unary(host.instances.deleteInstance.bind(host.instances), remove);
    await cut.killAfter('delete-instance: end hypervisor', removed);
    expect((await host.list()).map(({ name }) => name)).toEqual(['parked']);
    await removed();
  });
});
