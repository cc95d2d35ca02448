import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { provideGrpcurl } from '../harness/grpcurl.js';
import { TestHost } from '../harness/test-host.js';
import type { ApiCaller, JsonMessage } from './api-caller.js';
import { GrpcurlCaller } from './grpcurl-caller.js';
import { ReflectionCaller } from './reflection-caller.js';

/** status.proto's codes. */
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;

const grpcurl = await provideGrpcurl();
/** The second one shows that any client with reflection can do it, and stands in where there is no grpcurl. */
const callers: readonly { readonly by: string; readonly open: (address: string) => ApiCaller }[] = [
  ...(grpcurl === undefined ? [] : [{ by: 'grpcurl', open: (address: string) => new GrpcurlCaller(grpcurl, address) }]),
  { by: 'grpc-js with descriptors from reflection', open: (address) => new ReflectionCaller(address) },
];

let host: TestHost;
beforeAll(async () => {
  host = await TestHost.start();
  await host.boot('source', 'fork-worker.cjs');
  await host.standby('source', 'task');
});
afterAll(async () => {
  await host[Symbol.asyncDispose]();
});

describe.each(callers)('the API by $by', ({ by, open }) => {
  let api: ApiCaller;
  beforeAll(() => {
    api = open(host.daemon.address);
  });
  afterAll(() => {
    if (api instanceof ReflectionCaller) api[Symbol.dispose]();
  });

  it('lists its services', async () => {
    expect(await api.list()).toEqual([
      'grpc.health.v1.Health',
      'offshoot.v1.HostService',
      'offshoot.v1.ImageService',
      'offshoot.v1.InstanceService',
      'offshoot.v1.SnapshotService',
    ]);
  });

  it('describes a service and a message', async () => {
    expect(await api.describe('offshoot.v1.InstanceService')).toEqual(
      expect.arrayContaining(['CreateInstance', 'StandbyInstance', 'ForkInstance', 'DeleteInstance', 'StreamLogs']),
    );
    expect(await api.describe('offshoot.v1.MailboxDelivery')).toEqual([
      'name',
      'token',
      'json',
      'data',
      'wait_for_ack',
      'ack_timeout',
      'on_ack_timeout',
    ]);
  });

  it('tells of the host', async () => {
    const outcome = await api.call('offshoot.v1.HostService/GetHost', {});
    expect(outcome).toMatchObject({
      ok: true,
      response: {
        drivers: [
          { name: 'qemu', available: true, capabilities: { fork: true, mailbox: true } },
          { name: 'firecracker' },
          { name: 'cloud-hypervisor' },
          { name: 'vz' },
          { name: 'libkrun' },
        ],
        network: { subnet: '10.213.0.0/20', gateway: '10.213.0.1' },
        usage: { instances: 1 },
      },
    });
  });

  it("forks with a payload and brings back the guest's own answer", async () => {
    const name = by === 'grpcurl' ? 'by-grpcurl' : 'by-reflection';
    const outcome = await api.call('offshoot.v1.InstanceService/ForkInstance', {
      source: 'source',
      name,
      labels: { by: name },
      mailboxes: [{ name: 'task', json: JSON.stringify({ by: name }), ackTimeout: '30s' }],
      networkTimeout: '30s',
    });
    expect(outcome).toMatchObject({
      ok: true,
      response: {
        instance: { name, state: 'INSTANCE_STATE_RUNNING', labels: { by: name }, memoryBytes: '536870912' },
        acks: [{ mailbox: 'task', stage: 'applied' }],
      },
    });
    const { instance, acks, timings } = (outcome as { response: JsonMessage }).response as {
      instance: { network: JsonMessage };
      acks: { detail: string }[];
      timings: JsonMessage;
    };
    expect(JSON.parse(acks[0]!.detail)).toEqual({
      task: { by: name },
      address: instance.network.ipv4,
      mac: instance.network.mac,
    });
    for (const phase of ['clone', 'spawn', 'load', 'patch', 'resume', 'network', 'ack', 'total'])
      expect(timings[phase]).toMatch(/^\d+(\.\d+)?s$/);
    await host.delete(name);
  });

  it('says what is wrong with a fork, and what would be right, in details for programs', async () => {
    const missing = await api.call('offshoot.v1.InstanceService/ForkInstance', {
      source: 'source',
      mailboxes: [{ name: 'tusk', json: '{}' }],
    });
    expect(missing).toEqual({
      ok: false,
      code: NOT_FOUND,
      message: "no mailbox tusk in the source's memory; armed are: task",
      details: [
        {
          '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
          domain: 'offshoot',
          reason: 'MAILBOX_NOT_FOUND',
          metadata: { mailbox: 'tusk', armed: 'task', armed_count: '1' },
        },
      ],
    });
    const malformed = await api.call('offshoot.v1.InstanceService/ForkInstance', {
      source: 'source',
      mailboxes: [{ name: 'task', json: '{}', ackTimeout: '-1s' }],
    });
    expect(malformed).toMatchObject({
      ok: false,
      code: INVALID_ARGUMENT,
      details: [
        { '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'DURATION_OUT_OF_RANGE' },
        {
          '@type': 'type.googleapis.com/google.rpc.BadRequest',
          fieldViolations: [
            { field: 'mailboxes[0].ack_timeout', description: 'must be from 0 to 30 s (5 s when unset), got -1 s' },
          ],
        },
      ],
    });
    expect(await host.traces()).toMatchObject({ rows: ['source'], processes: 0, folders: 1, taps: 0 });
  });
});
