import { ForkInstanceRequest, OnAckTimeout } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { TestHost, type Traces } from '../harness/test-host.js';

const json = (text: string) => ({ $case: 'json' as const, json: text });
const seconds = (n: number) => ({ seconds: BigInt(n), nanos: 0 });

describe('a call that cannot be carried out says why, and leaves nothing', () => {
  let host: TestHost;
  let before: Traces;
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('source', 'fork-worker.cjs');
    await host.standby('source', 'task');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    before = await host.traces();
  });
  afterEach(async () => {
    expect(await host.traces()).toEqual(before);
  });

  describe('a boot', () => {
    it.each([
      ['of an unknown image', { image: 'gentoo' }, 'NOT_FOUND', 'IMAGE_NOT_FOUND', /gentoo/],
      ['under a name that is taken', { name: 'source' }, 'ALREADY_EXISTS', 'INSTANCE_NAME_TAKEN', /source/],
      ['under a malformed name', { name: 'Not_A_Name' }, 'INVALID_ARGUMENT', undefined, /must be 1 to 63 of a-z 0-9 -/],
      ['with a driver that is not built', { driver: 'vz' }, 'UNIMPLEMENTED', 'DRIVER_UNAVAILABLE', /driver vz/],
      ['with a driver that does not exist', { driver: 'bhyve' }, 'INVALID_ARGUMENT', 'DRIVER_UNKNOWN', /one of qemu/],
      [
        'with a disk smaller than its image',
        { diskBytes: 64n * 2n ** 20n },
        'INVALID_ARGUMENT',
        'DISK_TOO_SMALL',
        /at least \d{9,}, the size of the image default, got 67108864/,
      ],
      [
        'with a disk of an odd size',
        { diskBytes: 2n ** 30n + 512n },
        'INVALID_ARGUMENT',
        undefined,
        /1 MiB up to 512 GiB/,
      ],
      ['with a disk too large', { diskBytes: 2n ** 40n }, 'INVALID_ARGUMENT', undefined, /512 GiB/],
      [
        'with a file that a link of the image leads off the disk',
        { files: [{ path: '/var/run/secret', mode: 0, uid: 0, gid: 0, content: Buffer.from('x') }] },
        'INVALID_ARGUMENT',
        'DISK_PATH_TAKEN',
        /\/var\/run\/secret leads into \/run, which is mounted over at boot/,
      ],
      [
        'with a file in place of a folder of the image',
        { files: [{ path: '/usr/bin', mode: 0, uid: 0, gid: 0, content: Buffer.from('x') }] },
        'INVALID_ARGUMENT',
        'DISK_PATH_TAKEN',
        /\/usr\/bin is a folder/,
      ],
      [
        'with a file where something is mounted',
        { files: [{ path: '/run/secret', mode: 0, uid: 0, gid: 0, content: Buffer.from('x') }] },
        'INVALID_ARGUMENT',
        'PATH_RESERVED',
        /elsewhere than in \/run/,
      ],
      ['with a reserved variable', { env: { OFFSHOOT_A: '1' } }, 'INVALID_ARGUMENT', 'VARIABLE_RESERVED', /OFFSHOOT_/],
      [
        'with TLS material that is none',
        { tls: { certificate: 'c', privateKey: 'k', authorities: '' } },
        'INVALID_ARGUMENT',
        'TLS_MALFORMED',
        /certificates in PEM/,
      ],
      ['with an odd amount of memory', { memoryBytes: 300_000_001n }, 'INVALID_ARGUMENT', undefined, /2 MiB/],
    ])('%s', async (_, request, status, reason, message) => {
      const failure = await failureOf(host.create(request));
      expect(failure).toMatchObject({ status, message: expect.stringMatching(message) as string });
      if (reason !== undefined) expect(failure.details.reason).toBe(reason);
    });
  });

  describe('a fork', () => {
    const mailbox = (change: object = {}) => ({ name: 'task', payload: json('{}'), ...change });
    it.each<[string, Partial<Record<keyof ForkInstanceRequest, unknown>>, string, string | undefined, RegExp]>([
      ['of an unknown source', { source: 'nobody' }, 'NOT_FOUND', 'INSTANCE_NOT_FOUND', /nobody/],
      ['under a name that is taken', { name: 'source' }, 'ALREADY_EXISTS', 'INSTANCE_NAME_TAKEN', /source/],
      ['under a malformed name', { name: 'two words' }, 'INVALID_ARGUMENT', undefined, /must be 1 to 63 of a-z 0-9 -/],
      [
        'with a mailbox that is not armed',
        { mailboxes: [mailbox({ name: 'tusk' })] },
        'NOT_FOUND',
        'MAILBOX_NOT_FOUND',
        /no mailbox tusk.*armed are: task/,
      ],
      [
        'with a token that is not the mailbox’s',
        { mailboxes: [mailbox({ token: 'guess' })] },
        'NOT_FOUND',
        'MAILBOX_TOKEN_MISMATCH',
        /not with this token/,
      ],
      [
        'with a payload of 3841 bytes',
        { mailboxes: [mailbox({ payload: { $case: 'data', data: Buffer.alloc(3841) } })] },
        'INVALID_ARGUMENT',
        undefined,
        /3840/,
      ],
      [
        'with a payload that is not JSON though it says so',
        { mailboxes: [mailbox({ payload: json('{') })] },
        'INVALID_ARGUMENT',
        undefined,
        /JSON/,
      ],
      [
        'with 17 mailboxes',
        { mailboxes: Array.from({ length: 17 }, (_, i) => mailbox({ name: `m${i}` })) },
        'INVALID_ARGUMENT',
        undefined,
        /16/,
      ],
      ['with one mailbox named twice', { mailboxes: [mailbox(), mailbox()] }, 'INVALID_ARGUMENT', undefined, /task/],
      [
        'with a reserved mailbox',
        { mailboxes: [mailbox({ name: 'offshoot.network' })] },
        'INVALID_ARGUMENT',
        undefined,
        /reserved/,
      ],
      [
        'with a negative ack timeout, though nobody waits',
        { mailboxes: [mailbox({ waitForAck: false, ackTimeout: seconds(-1) })] },
        'INVALID_ARGUMENT',
        undefined,
        /ack_timeout/,
      ],
      [
        'with an ack timeout of 31 s',
        { mailboxes: [mailbox({ ackTimeout: seconds(31) })] },
        'INVALID_ARGUMENT',
        undefined,
        /30 s/,
      ],
      ['with a network timeout of 31 s', { networkTimeout: seconds(31) }, 'INVALID_ARGUMENT', undefined, /30 s/],
      [
        'with a negative network timeout',
        { networkTimeout: seconds(-1) },
        'INVALID_ARGUMENT',
        undefined,
        /network_timeout/,
      ],
    ])('%s', async (_, request, status, reason, message) => {
      const failure = await failureOf(host.fork({ source: 'source', ...(request as object) }));
      expect(failure).toMatchObject({ status, message: expect.stringMatching(message) as string });
      if (reason === undefined) expect(failure.details.violations).not.toEqual([]);
      else expect(failure.details.reason).toBe(reason);
    });

    /** The request as it goes over the wire, which no client of ours would send. */
    const send = (wire: Buffer): Promise<unknown> =>
      new Promise((resolve, reject) => {
        host.instances.makeUnaryRequest(
          '/offshoot.v1.InstanceService/ForkInstance',
          (bytes: Buffer) => bytes,
          (bytes: Buffer) => bytes,
          wire,
          (error, answer) => {
            if (error) reject(error);
            else resolve(answer);
          },
        );
      });
    const encoded = (change: object): Buffer =>
      Buffer.from(
        ForkInstanceRequest.encode(
          ForkInstanceRequest.fromPartial({ source: 'source', mailboxes: [mailbox(change)] }),
        ).finish(),
      );

    it.each([
      ['that is no character', 'ff'],
      ['that ends in the middle of a character', 'c3'],
      ['of half a surrogate pair', 'eda080'],
    ])('with a token %s', async (_, hex) => {
      const bytes = Buffer.from(hex, 'hex');
      const wire = encoded({ token: 'T'.repeat(bytes.length) });
      bytes.copy(wire, wire.indexOf('T'.repeat(bytes.length)));
      const failure = await failureOf(send(wire));
      expect(failure).toMatchObject({ status: 'INVALID_ARGUMENT', details: { reason: 'TEXT_NOT_UTF8' } });
    });

    it('with a payload of a kind that there is not', async () => {
      const wire = encoded({ payload: json('"PAYLOAD"') });
      // The tag before the length: field 3 or 4, of bytes. 14 is none.
      wire[wire.indexOf('"PAYLOAD"') - 2] = (14 << 3) | 2;
      const failure = await failureOf(send(wire));
      expect(failure).toMatchObject({
        status: 'INVALID_ARGUMENT',
        message: expect.stringMatching(/json or data/) as string,
      });
    });

    it('tells all mistakes of one request together', async () => {
      const request = { source: '', name: 'A', networkTimeout: seconds(31), mailboxes: [mailbox({ name: '' })] };
      const { details } = await failureOf(host.fork(request));
      expect(details.violations.map(({ field }) => field).sort()).toEqual([
        'mailboxes[0].name',
        'name',
        'network_timeout',
        'source',
      ]);
    });

    it('whose guest refuses the payload fails with the guest’s words', async () => {
      const failure = await failureOf(
        host.fork({
          source: 'source',
          mailboxes: [mailbox({ payload: json('{"fail": "no such tenant"}') })],
        }),
      );
      expect(failure).toMatchObject({ status: 'ABORTED', details: { reason: 'GUEST_FAILED' } });
      expect(failure.message).toContain('no such tenant');
    });

    it('whose guest stays silent fails at its timeout', async () => {
      const silent = mailbox({ payload: json('{"silent": true}'), ackTimeout: seconds(1) });
      const failure = await failureOf(host.fork({ source: 'source', mailboxes: [silent] }));
      expect(failure).toMatchObject({ status: 'DEADLINE_EXCEEDED', details: { reason: 'ACK_TIMEOUT' } });
    });

    it('past the caller’s own deadline is undone', async () => {
      const silent = mailbox({ payload: json('{"silent": true}') });
      const failure = failureOf(host.fork({ source: 'source', mailboxes: [silent] }, 1500));
      expect(await failure).toMatchObject({ status: 'DEADLINE_EXCEEDED' });
      await host.settled();
    });
  });

  it('a fork whose guest stays silent is kept when that was asked for', async () => {
    const { instance, acks } = await host.fork({
      source: 'source',
      name: 'kept',
      mailboxes: [
        {
          name: 'task',
          payload: json('{"silent": true}'),
          ackTimeout: seconds(1),
          onAckTimeout: OnAckTimeout.ON_ACK_TIMEOUT_KEEP,
        },
      ],
    });
    expect(acks).toMatchObject([{ mailbox: 'task', stage: '' }]);
    expect((await host.get('kept')).instance!.id).toBe(instance!.id);
    await host.delete('kept');
  });

  it.each([
    ['restoring a VM that runs', () => host.restore('running')],
    ['forking a VM that runs', () => host.fork({ source: 'running' })],
    ['deleting a VM that runs, without force', () => host.delete('running', false)],
  ])('%s', async (_, call) => {
    await host.fork({ source: 'source', name: 'running' });
    const failure = await failureOf(call());
    expect(failure).toMatchObject({ status: 'FAILED_PRECONDITION', details: { reason: 'INSTANCE_STATE' } });
    expect(failure.details.metadata).toMatchObject({ instance: 'running', state: 'RUNNING' });
    await host.delete('running');
  });

  it('parking a VM that is parked, and waiting for a mailbox that is never armed', async () => {
    expect(await failureOf(host.standby('source'))).toMatchObject({ status: 'FAILED_PRECONDITION' });
    await host.fork({ source: 'source', name: 'running' });
    const { client, instances } = host;
    const wait = { instance: 'running', waitMailboxes: ['tusk'], waitTimeout: seconds(3), requestId: '' };
    const failure = await failureOf(client.unary(instances.standbyInstance.bind(instances), wait));
    expect(failure).toMatchObject({ status: 'DEADLINE_EXCEEDED', details: { reason: 'MAILBOX_WAIT_TIMEOUT' } });
    expect(failure.message).toMatch(/armed: .*task/);
    await host.delete('running');
  });
});
