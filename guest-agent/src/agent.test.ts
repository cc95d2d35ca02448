import { once } from 'node:events';
import { promisify } from 'node:util';
import type {
  GuestServiceClient,
  HelloResponse,
  QuiesceRequest,
  QuiesceResponse,
  StartWorkloadRequest,
  StartWorkloadResponse,
  ThawRequest,
  ThawResponse,
} from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { readFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentOfTest, identity, identityPayload, reconfigure } from './agent-of-test.js';

const hello = (client: GuestServiceClient) =>
  promisify<object, HelloResponse>(client.hello.bind(client) as never)({ hostVersion: '1' });
const start = (client: GuestServiceClient, request: StartWorkloadRequest) =>
  promisify<StartWorkloadRequest, StartWorkloadResponse>(client.startWorkload.bind(client) as never)(request);
const quiesce = (client: GuestServiceClient, request: QuiesceRequest) =>
  promisify<QuiesceRequest, QuiesceResponse>(client.quiesce.bind(client) as never)(request);
const thaw = (client: GuestServiceClient, request: ThawRequest) =>
  promisify<ThawRequest, ThawResponse>(client.thaw.bind(client) as never)(request);

describe('the guest agent', () => {
  let agent: AgentOfTest;
  beforeEach(async () => {
    agent = await AgentOfTest.start();
  });
  afterEach(async () => {
    await agent[Symbol.asyncDispose]();
  });

  it('says hello in each session, and a new one supersedes the old', async () => {
    const first = await agent.host.session();
    expect(await hello(first)).toMatchObject({ bootId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string });
    expect((await hello(await agent.host.session())).kernelRelease).not.toBe('');
  });

  it('puts a delivered identity into force, answers for it, and arms its mailbox anew', async () => {
    const { nonce } = readFrameHeader(agent.frames.page('offshoot.network'));
    const delivery = agent.frames.deliver('offshoot.network', identityPayload, agent.route());
    agent.source.host.write('w');
    expect(await agent.ackOf('offshoot.network')).toMatchObject({ stage: 'applied', nonce: delivery, generation: 1 });
    expect(agent.parts.calls).toEqual(['network 10.0.2.30', 'generation 1']);
    const header = readFrameHeader(agent.frames.page('offshoot.network'));
    expect([header.state, header.generation, header.nonce === nonce]).toEqual(['armed', 0, false]);
  });

  it.each([
    ['is malformed', '{"mac":"x"}', undefined, 'mac'],
    ['the kernel refuses', JSON.stringify(identity), new Error('EPERM: ioctl'), 'EPERM'],
    ['is not JSON', 'nonsense', undefined, 'JSON'],
  ])('answers that it failed when an identity %s', async (_, payload, error, detail) => {
    if (error !== undefined) agent.parts.failures.set('network', error);
    agent.frames.deliver('offshoot.network', Buffer.from(payload), agent.route());
    agent.source.host.write('w');
    const ack = await agent.ackOf('offshoot.network');
    expect([ack.stage, agent.parts.calls]).toEqual(['failed', []]);
    expect(ack.detail).toContain(detail);
  });

  it('streams the output of a workload from any offset', async () => {
    const client = await agent.host.session();
    const { pid } = await start(client, { argv: ['echo', 'hello'], env: {}, workingDirectory: '', files: [] });
    expect(pid).toBeGreaterThan(0);
    const read = async (fromOffset: bigint): Promise<string> => {
      const call = client.streamWorkloadOutput({ fromOffset });
      call.on('error', () => undefined);
      let text = '';
      for await (const piece of call) {
        text += (piece as { data: Buffer }).data.toString();
        if (text.endsWith('code 0\n')) break;
      }
      return text;
    };
    expect(await read(0n)).toBe('hello\noffshoot: workload exited with code 0\n');
    expect(await read(6n)).toBe('offshoot: workload exited with code 0\n');
    const beyond = client.streamWorkloadOutput({ fromOffset: 1000n });
    await expect(once(beyond, 'data')).rejects.toThrow('beyond the end');
  });

  it('puts a whole identity into force by call', async () => {
    const inside = {
      hostname: 'fork-1',
      machineId: 'ab'.repeat(16),
      entropy: Buffer.alloc(64),
      hostTimeMs: 2 ** 40,
      credential: Buffer.alloc(43, 'c'),
    };
    await reconfigure(await agent.host.session(), { ...identity, ...inside });
    expect(agent.parts.calls).toEqual([
      'network 10.0.2.30',
      `clock ${String(2 ** 40)}`,
      'entropy 64',
      'hostname fork-1',
      'machine-id 32',
      'host-keys removed',
      `credential ${'c'.repeat(43)}`,
      'generation 1',
    ]);
    const software = await agent.local();
    expect(await software.ask({ op: 'identity' })).toMatchObject({ ok: true, hostname: 'fork-1', generation: 1 });
    software.socket.destroy();
  });

  it('is quiet when the host asks, says how far the output went, and catches up with the time when it is thawed', async () => {
    const client = await agent.host.session();
    expect(await quiesce(client, { freezeWorkload: true, timeoutMs: 0 })).toEqual({ workloadOutputEnd: 0n });
    await thaw(client, { hostTimeMs: 6000 });
    expect(agent.parts.calls).toEqual(['sync', 'credential wiped', 'sync', 'clock 6000']);
    agent.parts.calls.length = 0;
    await thaw(client, { hostTimeMs: 0, credential: Buffer.alloc(43, 'c') });
    expect(agent.parts.calls).toEqual([`credential ${'c'.repeat(43)}`]);
    await expect(thaw(client, { hostTimeMs: 0, credential: Buffer.alloc(42, 'c') })).rejects.toMatchObject({ code: 3 });
    await expect(quiesce(client, { freezeWorkload: true, timeoutMs: 1 })).rejects.toMatchObject({ code: 3 });
    await expect(thaw(client, { hostTimeMs: NaN })).rejects.toMatchObject({ code: 3 });
  });

  it('tells anew where its mailboxes are before it says that it is quiet', async () => {
    const client = await agent.host.session();
    const call = client.registerMailbox({});
    call.on('error', () => undefined);
    await once(call, 'data');
    let told = 0;
    call.on('data', () => (told += 1));
    await quiesce(client, { freezeWorkload: false, timeoutMs: 0 });
    expect(told).toBe(1);
    call.cancel();
  });

  it('refuses to be quiet when it cannot freeze its workload, unless that is not wanted', async () => {
    const client = await agent.host.session();
    await start(client, { argv: ['true'], env: {}, workingDirectory: '', files: [] });
    await expect(quiesce(client, { freezeWorkload: true, timeoutMs: 0 })).rejects.toMatchObject({ code: 12 });
    await quiesce(client, { freezeWorkload: false, timeoutMs: 0 });
  });

  it('refuses a malformed identity by call with INVALID_ARGUMENT', async () => {
    await expect(reconfigure(await agent.host.session(), { ...identity, mac: 'x' })).rejects.toMatchObject({ code: 3 });
  });

  it('answers a shutdown before it powers off', async () => {
    const client = await agent.host.session();
    await promisify<object, object>(client.shutdown.bind(client) as never)({});
    await agent.poweredOff;
  });
});
