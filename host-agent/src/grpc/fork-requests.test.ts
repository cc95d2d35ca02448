import { InstanceState as S } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import {
  ForkInstanceRequest,
  ForkInstancesRequest,
  MailboxDelivery,
  type OnAckTimeout,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { ForkSnapshotRequest, ForkSnapshotsRequest } from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import { describe, expect, it } from 'vitest';
import { parseFork, parseForkSnapshot, parseForkSnapshots, parseForks } from './fork-requests.js';
import { refusal, seconds } from './testing/refusal.js';

const fork = (partial: Parameters<typeof ForkInstanceRequest.fromPartial>[0]) =>
  parseFork(ForkInstanceRequest.fromPartial({ source: 's', ...partial }));
const mailbox = (partial: Parameters<typeof MailboxDelivery.fromPartial>[0] = {}) =>
  MailboxDelivery.fromPartial({ name: 'task', payload: { $case: 'json', json: '{}' }, ...partial });

describe('ForkInstance', () => {
  it('fills in every default', () => {
    expect(fork({ mailboxes: [mailbox()] })).toEqual({
      of: 'instance',
      source: 's',
      name: undefined,
      labels: {},
      mailboxes: [
        {
          name: 'task',
          token: undefined,
          contentType: 'json',
          payload: Buffer.from('{}'),
          waitForAck: true,
          ackTimeoutMs: 5000,
          onAckTimeout: 'DELETE',
        },
      ],
      waitForNetwork: true,
      networkTimeoutMs: 10_000,
      fromRunning: false,
      targetState: undefined,
      freezeWorkload: true,
    });
  });

  it('takes RUNNING, STANDBY or STOPPED as its target, and nothing else', () => {
    expect(fork({ targetState: S.INSTANCE_STATE_STOPPED }).targetState).toBe('STOPPED');
    expect(fork({ targetState: S.INSTANCE_STATE_STANDBY }).targetState).toBe('STANDBY');
    expect(fork({ targetState: S.INSTANCE_STATE_RUNNING, fromRunning: true })).toMatchObject({
      targetState: 'RUNNING',
      fromRunning: true,
    });
    for (const targetState of [S.INSTANCE_STATE_PAUSED, S.INSTANCE_STATE_FAILED])
      expect(refusal(() => fork({ targetState }))?.fields).toEqual(['target_state']);
  });

  it('delivers JSON byte for byte and data as bytes', () => {
    const json = '{ "a" :\n1.0, "é": "\\u00e9" }';
    const data = Buffer.from([0, 255, 10]);
    const { mailboxes } = fork({
      mailboxes: [
        mailbox({ payload: { $case: 'json', json } }),
        mailbox({ name: 'raw', payload: { $case: 'data', data } }),
      ],
    });
    expect(mailboxes.map(({ payload }) => payload)).toEqual([Buffer.from(json), data]);
    expect(mailboxes.map(({ contentType }) => contentType)).toEqual(['json', 'bytes']);
  });

  it('takes 16 mailboxes and refuses 17', () => {
    const many = (count: number) => Array.from({ length: count }, (_, i) => mailbox({ name: `m${String(i)}` }));
    expect(fork({ mailboxes: many(16) }).mailboxes).toHaveLength(16);
    expect(refusal(() => fork({ mailboxes: many(17) }))).toMatchObject({
      fields: ['mailboxes'],
      reason: 'TOO_MANY_MAILBOXES',
    });
  });

  it('refuses duplicate names', () => {
    expect(refusal(() => fork({ mailboxes: [mailbox(), mailbox()] }))).toMatchObject({
      fields: ['mailboxes[1].name'],
      reason: 'DUPLICATE_MAILBOX',
    });
  });

  it('takes a payload of 245760 bytes, what 64 frames hold, and refuses one more, JSON or not', () => {
    const json = (length: number) => mailbox({ payload: { $case: 'json', json: `"${'x'.repeat(length - 2)}"` } });
    const data = (length: number) => mailbox({ payload: { $case: 'data', data: Buffer.alloc(length) } });
    for (const payload of [json, data]) {
      expect(fork({ mailboxes: [payload(245_760)] }).mailboxes[0]?.payload).toHaveLength(245_760);
      expect(refusal(() => fork({ mailboxes: [payload(245_761)] }))?.reason).toBe('MAILBOX_PAYLOAD_TOO_LARGE');
    }
    const umlauts = mailbox({ payload: { $case: 'json', json: `"${'é'.repeat(122_880)}"` } });
    expect(refusal(() => fork({ mailboxes: [umlauts] }))?.text).toContain('got 245762');
  });

  it('refuses text that is not JSON, and a payload that is missing', () => {
    expect(
      refusal(() => fork({ mailboxes: [mailbox({ payload: { $case: 'json', json: '{sesame' } })] })),
    ).toMatchObject({
      fields: ['mailboxes[0].json'],
      reason: 'MAILBOX_NOT_JSON',
      text: expect.not.stringContaining('sesame') as string,
    });
    expect(refusal(() => fork({ mailboxes: [MailboxDelivery.fromPartial({ name: 'task' })] }))).toMatchObject({
      fields: ['mailboxes[0]'],
      reason: 'MAILBOX_PAYLOAD_MISSING',
    });
  });

  it.each([
    ['offshoot.network', 'MAILBOX_NAME_RESERVED'],
    ['', 'MAILBOX_NAME_MALFORMED'],
    ['a b', 'MAILBOX_NAME_MALFORMED'],
    ['a'.repeat(65), 'MAILBOX_NAME_MALFORMED'],
  ])('refuses the mailbox name %j', (name, reason) => {
    expect(refusal(() => fork({ mailboxes: [mailbox({ name })] }))).toMatchObject({
      fields: ['mailboxes[0].name'],
      reason,
    });
  });

  it('takes a token of 128 bytes and refuses 129, and NUL', () => {
    expect(fork({ mailboxes: [mailbox({ token: 'é'.repeat(64) })] }).mailboxes[0]?.token).toHaveLength(64);
    expect(refusal(() => fork({ mailboxes: [mailbox({ token: `${'é'.repeat(64)}x` })] }))?.fields).toEqual([
      'mailboxes[0].token',
    ]);
    expect(refusal(() => fork({ mailboxes: [mailbox({ token: 'a\0' })] }))?.fields).toEqual(['mailboxes[0].token']);
  });

  it.each([true, false])('refuses negative and 31 s timeouts when waiting is %s', (wait) => {
    for (const timeout of [seconds(-1), { seconds: 0n, nanos: -1 }, seconds(31), { seconds: 30n, nanos: 1 }]) {
      expect(refusal(() => fork({ mailboxes: [mailbox({ waitForAck: wait, ackTimeout: timeout })] }))).toMatchObject({
        fields: ['mailboxes[0].ack_timeout'],
        reason: 'DURATION_OUT_OF_RANGE',
      });
      expect(refusal(() => fork({ waitForNetwork: wait, networkTimeout: timeout }))?.fields).toEqual([
        'network_timeout',
      ]);
    }
  });

  it('takes 30 s, the default for 0, and never rounds a wait down to none', () => {
    const ack = (timeout: { seconds: bigint; nanos: number }) =>
      fork({ mailboxes: [mailbox({ ackTimeout: timeout })] }).mailboxes[0]?.ackTimeoutMs;
    expect([ack(seconds(30)), ack(seconds(0)), ack({ seconds: 0n, nanos: 1 })]).toEqual([30_000, 5000, 1]);
  });

  it.each([
    { seconds: 1n, nanos: -1 },
    { seconds: -1n, nanos: 1 },
    { seconds: 0n, nanos: 1_000_000_000 },
    { seconds: 2n ** 62n, nanos: 0 },
  ])('refuses the malformed duration %o', (networkTimeout) => {
    expect(refusal(() => fork({ networkTimeout }))?.reason).toBe('DURATION_MALFORMED');
  });

  it('refuses an unknown value of on_ack_timeout', () => {
    expect(
      refusal(() => fork({ mailboxes: [mailbox({ onAckTimeout: JSON.parse('9') as OnAckTimeout })] }))?.fields,
    ).toEqual(['mailboxes[0].on_ack_timeout']);
  });

  it('reports everything that is wrong at once', () => {
    const refused = refusal(() =>
      fork({ source: '', name: 'A', mailboxes: [mailbox({ name: '' }), mailbox({ ackTimeout: seconds(31) })] }),
    );
    expect(refused).toMatchObject({
      fields: ['source', 'name', 'mailboxes[0].name', 'mailboxes[1].ack_timeout'],
      reason: 'INVALID_FIELD',
    });
  });
});

describe('ForkInstances', () => {
  const forks = (partial: Parameters<typeof ForkInstancesRequest.fromPartial>[0]) =>
    parseForks(ForkInstancesRequest.fromPartial({ fork: { source: 's', name: 'job' }, count: 2, ...partial }));

  it('takes 1 to 256 forks, each with mailboxes of its own beside those for all', () => {
    const { count, mailboxesByIndex, allOrNothing } = forks({
      fork: { source: 's', mailboxes: [mailbox({ name: 'all' })] },
      mailboxesByIndex: [{ mailboxes: [mailbox({ name: 'first' })] }, {}],
    });
    expect({ count, allOrNothing }).toEqual({ count: 2, allOrNothing: false });
    expect(mailboxesByIndex.map((deliveries) => deliveries.map(({ name }) => name))).toEqual([['first'], []]);
    expect(forks({ count: 256 }).count).toBe(256);
    for (const count of [0, 257]) expect(refusal(() => forks({ count }))?.fields).toEqual(['count']);
  });

  it('has one request id, its own', () => {
    expect(refusal(() => forks({ requestId: 'a' }))).toBeUndefined();
    expect(refusal(() => forks({ fork: { source: 's', requestId: 'a' } }))?.fields).toEqual(['fork.request_id']);
  });

  it('wants an entry of mailboxes for each fork or none, and no mailbox twice', () => {
    expect(refusal(() => forks({ mailboxesByIndex: [{}] }))?.fields).toEqual(['mailboxes_by_index']);
    const twice = {
      fork: { source: 's', mailboxes: [mailbox()] },
      count: 1,
      mailboxesByIndex: [{ mailboxes: [mailbox()] }],
    };
    expect(refusal(() => forks(twice))).toMatchObject({
      fields: ['mailboxes_by_index[0].mailboxes'],
      reason: 'DUPLICATE_MAILBOX',
    });
    const many = Array.from({ length: 9 }, (_, i) => mailbox({ name: `m${i}` }));
    const others = Array.from({ length: 8 }, (_, i) => mailbox({ name: `o${i}` }));
    expect(
      refusal(() =>
        forks({ fork: { source: 's', mailboxes: many }, count: 1, mailboxesByIndex: [{ mailboxes: others }] }),
      ),
    ).toMatchObject({ reason: 'TOO_MANY_MAILBOXES' });
  });

  it('refuses a name whose longest fork would have too long a one, and says where a mistake stands', () => {
    expect(forks({ fork: { source: 's', name: 'n'.repeat(61) } }).fork.name).toHaveLength(61);
    expect(refusal(() => forks({ fork: { source: 's', name: 'n'.repeat(62) } }))?.fields).toEqual(['fork.name']);
    expect(refusal(() => forks({ fork: {} }))?.fields).toEqual(['fork.source']);
  });
});

describe('ForkSnapshot and ForkSnapshots', () => {
  it('are asked for as forks of an instance at rest', () => {
    const command = parseForkSnapshot(ForkSnapshotRequest.fromPartial({ snapshot: 'base', name: 'job' }));
    expect(command).toEqual({ ...fork({ source: 'base', name: 'job' }), of: 'snapshot' });
    const many = parseForkSnapshots(
      ForkSnapshotsRequest.fromPartial({ fork: { snapshot: 'base', name: 'job' }, count: 3, allOrNothing: true }),
    );
    expect(many).toEqual({ fork: command, count: 3, allOrNothing: true, mailboxesByIndex: [] });
  });

  it('are refused with the field as their caller knows it', () => {
    expect(refusal(() => parseForkSnapshot(ForkSnapshotRequest.fromPartial({})))?.fields).toEqual(['snapshot']);
    const many = ForkSnapshotsRequest.fromPartial({ fork: { snapshot: '' }, count: 300 });
    expect(refusal(() => parseForkSnapshots(many))?.fields).toEqual(['count', 'fork.snapshot']);
  });
});
