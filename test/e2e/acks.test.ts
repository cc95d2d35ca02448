import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { GetHostRequest } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { TestHost } from '../harness/test-host.js';

const SEND = `
const socket = require('node:dgram').createSocket('udp4');
const [port, ...lines] = process.argv.slice(1);
const next = () => { const line = lines.shift(); line === undefined ? socket.close() : socket.send(line, Number(port), '127.0.0.1', next); };
next();`;

/** In user mode every datagram comes from loopback: only nonce and form tell a right one. */
describe('an acknowledgement that is not the guest’s', () => {
  let host: TestHost;
  let port: number;
  beforeAll(async () => {
    host = await TestHost.start({ settings: { 'network.mode': 'user', log_level: 'debug' } });
    const { network } = await host.client.unary(
      host.client.host.getHost.bind(host.client.host),
      GetHostRequest.fromPartial({}),
    );
    expect(network).toMatchObject({ mode: 'user', bridge: '' });
    port = network!.ackPort;
    await host.boot('source', 'fork-worker.cjs');
    await host.standby('source', 'task');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  it('is not accepted, be its nonce wrong, its form, or what stands before it', async () => {
    const lines = [
      'offshoot-ack v=1 mailbox=task generation=1 nonce=0123456789abcdef stage=applied',
      'offshoot-ack v=1 mailbox=task generation=1 stage=applied applied applied',
      'x offshoot-ack v=1 mailbox=task generation=1 nonce=0123456789abcdef stage=applied',
    ];
    const silent = {
      name: 'task',
      payload: { $case: 'json' as const, json: '{"silent": true}' },
      ackTimeout: { seconds: 10n, nanos: 0 },
    };
    const fork = failureOf(host.fork({ source: 'source', name: 'silent', mailboxes: [silent] }));
    // The guest says this once it has the task: from then on only an acknowledgement is missing.
    await host.untilListed('silent');
    await host.logLine('silent', (said) => said.startsWith('task '));
    const sends = lines.flatMap((line) => [line, line]);
    const [program = '', ...argv] = host.machine.inNetwork(process.execPath, '-e', SEND, String(port), ...sends);
    execFileSync(program, argv);
    expect(await fork).toMatchObject({ status: 'DEADLINE_EXCEEDED', details: { reason: 'ACK_TIMEOUT' } });
    expect(await host.traces()).toMatchObject({ rows: ['source'], folders: 1, processes: 0 });
  });

  it('does not keep the guest’s own from being accepted', async () => {
    const { acks, instance } = await host.fork({
      source: 'source',
      mailboxes: [{ name: 'task', payload: { $case: 'json', json: '{"number": 1}' } }],
    });
    expect(JSON.parse(acks[0]!.detail)).toMatchObject({ task: { number: 1 }, address: instance!.network!.ipv4 });
  });
});

describe('a guest that cannot send a datagram to the host', () => {
  it('is heard over its channel', async () => {
    await using host = await TestHost.start();
    const program = readFileSync(new URL('../guest/fork-worker.cjs', import.meta.url));
    const script = `eval "$(offshoot-guest identity)"; ip route add blackhole $GATEWAY/32 && exec node /srv/worker.cjs`;
    await host.create({
      name: 'source',
      workload: {
        argv: ['sh', '-c', script],
        env: {},
        workingDirectory: '',
        files: [{ path: '/srv/worker.cjs', mode: 0o644, content: program }],
      },
    });
    await host.standby('source', 'task');
    const { acks, instance } = await host.fork({
      source: 'source',
      mailboxes: [{ name: 'task', payload: { $case: 'json', json: '{"number": 1}' } }],
    });
    expect(JSON.parse(acks[0]!.detail)).toMatchObject({ task: { number: 1 }, address: instance!.network!.ipv4 });
    // It tries by UDP for a second first.
    expect(Number(acks[0]!.latency!.seconds)).toBeGreaterThanOrEqual(1);
  });
});
