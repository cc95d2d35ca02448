import { readFileSync } from 'node:fs';
import { GetHostRequest } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { OnAckTimeout } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { CutShortHost } from '../harness/cut-short-host.js';
import type { TestHost } from '../harness/test-host.js';
import { isRoot } from '../harness/test-machine.js';

const seconds = (n: number) => ({ seconds: BigInt(n), nanos: 0 });
const mailbox = (name: string, value: object, change: object = {}) => ({
  name,
  payload: { $case: 'json' as const, json: JSON.stringify(value) },
  ...change,
});
const noRoot = isRoot ? '' : ' (skipped: root, for a network in which guests have addresses)';

/** How often the daemon has said that it dropped something for this reason: at the 1st, 10th, 100th … time. */
const dropped = (host: TestHost, reason: string): number =>
  host.daemon.log.split('\n').filter((line) => line.includes('"dropped ') && line.includes(`"reason":"${reason}"`))
    .length;

const residentKiB = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8'))?.[1]);

describe('a guest that means no good', () => {
  let cut: CutShortHost;
  let host: TestHost;
  let ackTo: { host: string; port: number };
  beforeAll(async () => {
    cut = await CutShortHost.start();
    host = cut.host;
    const { network } = await host.client.unary(
      host.client.host.getHost.bind(host.client.host),
      GetHostRequest.fromPartial({}),
    );
    await host.boot('source', 'hostile-frames.cjs');
    const { network: of } = await host.standby('source', 'task');
    ackTo = { host: of!.gateway, port: network!.ackPort };
  });
  afterAll(async () => {
    await cut[Symbol.asyncDispose]();
  });

  /** A fork beside the bad one: what it gets, and what it says to that. */
  const bystander = (number: number) =>
    host.fork({
      source: 'source',
      mailboxes: [mailbox('task', { number }), mailbox('plain', { number })],
    });

  it('does not keep a good frame from its payload by frames that are wrong in one thing each', async () => {
    const { instance, acks } = await bystander(7);
    expect(acks.map(({ mailbox: name, detail }) => [name, detail])).toEqual([
      ['task', '7'],
      ['plain', '7'],
    ]);
    await host.delete(instance!.id);
  });

  it.each([
    ['used', 'FAILED_PRECONDITION', 'MAILBOX_NOT_ARMED', /consumed/],
    ['half', 'FAILED_PRECONDITION', 'MAILBOX_INCOMPLETE', /1 of its 2 segments/],
    ['twins', 'FAILED_PRECONDITION', 'MAILBOX_AMBIGUOUS', /several places/],
    ['homonyms', 'FAILED_PRECONDITION', 'MAILBOX_AMBIGUOUS', /2 armed frames/],
    ['absent', 'NOT_FOUND', 'MAILBOX_NOT_FOUND', /armed are: half, homonyms, plain, task, twins/],
  ])(
    'has mailbox %s refused, and with it a fork whose three others are right, before anything is done',
    async (...wrong) => {
      const [name, status, reason, message] = wrong;
      const before = await host.traces();
      const mailboxes = [mailbox('task', {}), mailbox('plain', {}), mailbox(name, {})];
      const steps = await cut.stepsOf(async () => {
        const failure = await failureOf(host.fork({ source: 'source', mailboxes }));
        expect(failure).toMatchObject({
          status,
          details: { reason },
          message: expect.stringMatching(message) as string,
        });
      });
      // No folder, no process, so no memory: the first of a fork's steps is that its name is taken.
      expect(steps).toEqual([]);
      expect(await host.traces()).toEqual(before);
    },
  );

  it('does not drown the acks of others in a flood, nor fill the daemon’s memory', async () => {
    const before = residentKiB(host.daemon.pid);
    const flood = host.fork({
      source: 'source',
      name: 'flood',
      mailboxes: [mailbox('task', { number: 1, flood: 6000, ...ackTo })],
    });
    const { instance, acks } = await bystander(2);
    expect(acks.map(({ detail }) => detail)).toEqual(['2', '2']);
    expect((await flood).acks).toMatchObject([{ stage: 'applied', detail: '1' }]);
    await host.logLine('flood', (line) => line === 'sent all');
    // Of 4000 each the kernel may have dropped some, but not nine in ten.
    for (const reason of ['unknown-nonce', 'missing-key', 'too-long'])
      expect(dropped(host, reason), reason).toBeGreaterThanOrEqual(3);
    expect(residentKiB(host.daemon.pid) - before).toBeLessThan(64 * 1024);
    await host.delete(instance!.id);
    await host.delete('flood');
  });

  it.skipIf(!isRoot)(`cannot acknowledge for a neighbour, though it knows the nonce${noRoot}`, async () => {
    const silent = mailbox(
      'plain',
      { silent: true },
      { ackTimeout: seconds(15), onAckTimeout: OnAckTimeout.ON_ACK_TIMEOUT_KEEP },
    );
    const victim = host.fork({ source: 'source', name: 'victim', mailboxes: [silent] });
    await host.untilListed('victim');
    const said = await host.logLine('victim', (line) => line.startsWith('plain '));
    const [, nonce = ''] = said.split(' ');
    const forged = (stage: string) => `offshoot-ack v=1 mailbox=plain generation=1 nonce=${nonce} stage=${stage}`;
    const { instance, acks } = await host.fork({
      source: 'source',
      mailboxes: [mailbox('task', { number: 3, lines: [forged('applied'), forged('failed')], ...ackTo })],
    });
    expect(acks).toMatchObject([{ detail: '3' }]);
    expect((await victim).acks).toMatchObject([{ mailbox: 'plain', stage: '', detail: '' }]);
    expect(dropped(host, 'wrong-source')).toBe(1);
    await host.delete('victim');
    await host.delete(instance!.id);
  });

  it('with more than 4096 frames has only registered mailboxes filled', async () => {
    await host.boot('full', 'frame-flood.cjs');
    await host.standby('full', 'task');
    const [full, beside, refused] = await Promise.all([
      host.fork({ source: 'full', mailboxes: [mailbox('task', { number: 4 })] }),
      bystander(5),
      failureOf(host.fork({ source: 'full', mailboxes: [mailbox('task', {}), mailbox('plain', {})] })),
    ]);
    expect(full.acks).toMatchObject([{ stage: 'applied', detail: '{"number":4}' }]);
    expect(beside.acks.map(({ detail }) => detail)).toEqual(['5', '5']);
    expect(refused).toMatchObject({
      status: 'FAILED_PRECONDITION',
      details: { reason: 'MAILBOX_FRAMES_EXCESSIVE', metadata: { mailbox: 'plain', limit: '4096' } },
    });
  });
});
