import { InstanceState as S } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import {
  CreateInstanceRequest,
  ForkInstanceRequest,
  ForkInstancesRequest,
  ListInstancesRequest,
  LogSource,
  MailboxDelivery,
  type OnAckTimeout,
  StandbyInstanceRequest,
  StopInstanceRequest,
  StreamLogsRequest,
  WorkloadFile,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import {
  parseCreate,
  parseFork,
  parseForks,
  parseInstance,
  parseList,
  parseLogs,
  parseStandby,
  parseStop,
} from './instance-requests.js';

const MIB = 2 ** 20;

/** Fields and reason of what a parse refuses; undefined when it refuses nothing. */
function refusal(parse: () => unknown): { fields: string[]; reason: string; text: string } | undefined {
  try {
    parse();
    return undefined;
  } catch (error) {
    if (!(error instanceof InvalidInput)) throw error;
    return { fields: error.violations.map(({ field }) => field), reason: error.reason, text: error.message };
  }
}

const create = (partial: Parameters<typeof CreateInstanceRequest.fromPartial>[0]) =>
  parseCreate(CreateInstanceRequest.fromPartial(partial));
const fork = (partial: Parameters<typeof ForkInstanceRequest.fromPartial>[0]) =>
  parseFork(ForkInstanceRequest.fromPartial({ source: 's', ...partial }));
const mailbox = (partial: Parameters<typeof MailboxDelivery.fromPartial>[0] = {}) =>
  MailboxDelivery.fromPartial({ name: 'task', payload: { $case: 'json', json: '{}' }, ...partial });
const seconds = (value: number) => ({
  seconds: BigInt(Math.trunc(value)),
  nanos: Math.round((value - Math.trunc(value)) * 1e9),
});

describe('CreateInstance', () => {
  it('fills in every default', () => {
    expect(create({})).toEqual({
      name: undefined,
      image: 'default',
      driver: undefined,
      vcpus: 1,
      memoryBytes: 512 * MIB,
      labels: {},
      workload: undefined,
    });
    expect(create({ workload: { argv: ['a'], files: [{ path: '/f' }] } }).workload).toMatchObject({
      workingDirectory: '/',
      files: [{ path: '/f', mode: 0o644 }],
    });
  });

  it.each(['a', 'a-b', '0', 'a'.repeat(63), 'a--b'])('takes %s as a name', (name) => {
    expect(create({ name }).name).toBe(name);
  });

  it.each(['-a', 'a-', 'A', 'a_b', 'a.b', 'a'.repeat(64), 'é', 'a\n', '../x', ' '])('refuses %j as a name', (name) => {
    expect(refusal(() => create({ name }))).toMatchObject({ fields: ['name'], reason: 'NAME_MALFORMED' });
  });

  it.each([128 * MIB, 130 * MIB, 65_536 * MIB])('takes %d bytes of memory', (bytes) => {
    expect(create({ memoryBytes: BigInt(bytes) }).memoryBytes).toBe(bytes);
  });

  it.each([1n, BigInt(126 * MIB), BigInt(129 * MIB), BigInt(65_538 * MIB), 2n ** 64n - 1n])(
    'refuses %d bytes of memory, saying what would do',
    (memoryBytes) => {
      const refused = refusal(() => create({ memoryBytes }));
      expect(refused?.fields).toEqual(['memory_bytes']);
      expect(refused?.text).toMatch(/multiple of 2 MiB from 128 MiB .* to 64 GiB .* got \d+/);
    },
  );

  it('refuses 17 virtual CPUs and takes 16', () => {
    expect(create({ vcpus: 16 }).vcpus).toBe(16);
    expect(refusal(() => create({ vcpus: 17 }))?.fields).toEqual(['vcpus']);
  });

  it('refuses 65 labels, malformed keys, long values and what a terminal would obey', () => {
    const many = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${String(i)}`, 'v']));
    expect(refusal(() => create({ labels: many }))?.fields).toEqual(['labels']);
    expect(refusal(() => create({ labels: { '': 'v' } }))?.fields).toEqual(['labels']);
    expect(refusal(() => create({ labels: { ['k'.repeat(64)]: 'v' } }))?.fields).toEqual(['labels']);
    expect(refusal(() => create({ labels: { k: 'é'.repeat(129) } }))?.fields).toEqual(['labels["k"]']);
    expect(refusal(() => create({ labels: { k: '\x1b[2J' } }))?.fields).toEqual(['labels["k"]']);
    expect(create({ labels: { 'example.org/team': 'é'.repeat(128) } }).labels).toHaveProperty(['example.org/team']);
  });

  it('takes files of 1 MiB together and refuses one byte more', () => {
    const files = (extra: number) => [
      { path: '/a', content: Buffer.alloc(MIB / 2) },
      { path: '/b', content: Buffer.alloc(MIB / 2 + extra) },
    ];
    expect(create({ workload: { files: files(0) } }).workload?.files).toHaveLength(2);
    expect(refusal(() => create({ workload: { files: files(1) } }))).toMatchObject({
      fields: ['workload.files'],
      reason: 'WORKLOAD_FILES_TOO_LARGE',
    });
  });

  it.each(['', 'a', './a', '/', '/a/', '/a//b', '/a/../b', '/a/.', '/a\0b', `/${'n'.repeat(256)}`, '/a'.repeat(2048)])(
    'refuses %j as the path of a file',
    (path) => {
      const files = [WorkloadFile.fromPartial({ path })];
      expect(refusal(() => create({ workload: { files } }))?.fields).toEqual(['workload.files[0].path']);
    },
  );

  it('refuses a file given twice and a mode that is more than permission bits', () => {
    const files = [
      { path: '/a', mode: 0o7777 },
      { path: '/a', mode: 0o10000 },
    ];
    expect(refusal(() => create({ workload: { files } }))?.fields).toEqual([
      'workload.files[1].path',
      'workload.files[1].mode',
    ]);
  });

  it('refuses NULs, oversized arguments and malformed names of variables, without quoting a value', () => {
    const refused = refusal(() =>
      create({
        workload: { argv: ['', 'a\0sesame'], env: { 'A=B': 'sesame', C: `sesame\0`, D: 'x'.repeat(131_072) } },
      }),
    );
    expect(refused?.fields).toEqual([
      'workload.argv[0]',
      'workload.argv[1]',
      'workload.env',
      'workload.env["C"]',
      'workload.env["D"]',
    ]);
    expect(refused?.text).not.toContain('sesame');
    expect(
      refusal(() => create({ workload: { argv: Array.from({ length: 5 }, () => 'x'.repeat(120_000)) } }))?.fields,
    ).toEqual(['workload']);
  });
});

describe('ForkInstance', () => {
  it('fills in every default', () => {
    expect(fork({ mailboxes: [mailbox()] })).toEqual({
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

  it('takes RUNNING or STOPPED as its target, and nothing else', () => {
    expect(fork({ targetState: S.INSTANCE_STATE_STOPPED }).targetState).toBe('STOPPED');
    expect(fork({ targetState: S.INSTANCE_STATE_RUNNING, fromRunning: true })).toMatchObject({
      targetState: 'RUNNING',
      fromRunning: true,
    });
    for (const targetState of [S.INSTANCE_STATE_STANDBY, S.INSTANCE_STATE_FAILED])
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

  it('takes a payload of 3840 bytes and refuses one of 3841, JSON or not', () => {
    const json = (length: number) => mailbox({ payload: { $case: 'json', json: `"${'x'.repeat(length - 2)}"` } });
    const data = (length: number) => mailbox({ payload: { $case: 'data', data: Buffer.alloc(length) } });
    for (const payload of [json, data]) {
      expect(fork({ mailboxes: [payload(3840)] }).mailboxes[0]?.payload).toHaveLength(3840);
      expect(refusal(() => fork({ mailboxes: [payload(3841)] }))?.reason).toBe('MAILBOX_PAYLOAD_TOO_LARGE');
    }
    const umlauts = mailbox({ payload: { $case: 'json', json: `"${'é'.repeat(1920)}"` } });
    expect(refusal(() => fork({ mailboxes: [umlauts] }))?.text).toContain('got 3842');
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

describe('the other calls', () => {
  it('need an instance that is named', () => {
    expect(refusal(() => parseInstance({ instance: '' }))?.fields).toEqual(['instance']);
    expect(refusal(() => parseInstance({ instance: 'x'.repeat(65) }))?.fields).toEqual(['instance']);
  });

  it('wait for mailboxes up to 10 minutes, 30 s by default', () => {
    const standby = (waitTimeout?: { seconds: bigint; nanos: number }) =>
      parseStandby(StandbyInstanceRequest.fromPartial({ instance: 'i', waitMailboxes: ['b', 'b'], waitTimeout }));
    expect(standby()).toEqual({ instance: 'i', freezeWorkload: true, waitMailboxes: ['b'], waitTimeoutMs: 30_000 });
    expect(standby(seconds(600)).waitTimeoutMs).toBe(600_000);
    expect(refusal(() => standby(seconds(601)))?.fields).toEqual(['wait_timeout']);
    expect(refusal(() => standby(seconds(-1)))?.fields).toEqual(['wait_timeout']);
  });

  it('list pages of up to 1000, in known states only', () => {
    const list = (partial: Parameters<typeof ListInstancesRequest.fromPartial>[0]) =>
      parseList(ListInstancesRequest.fromPartial(partial));
    expect(list({}).pageSize).toBe(100);
    expect(
      list({ states: [S.INSTANCE_STATE_RUNNING, S.INSTANCE_STATE_RUNNING, S.INSTANCE_STATE_STANDBY] }).states,
    ).toEqual(['RUNNING', 'STANDBY']);
    expect(
      refusal(() =>
        list({ pageSize: 1001, pageToken: 'a b', states: [S.INSTANCE_STATE_UNSPECIFIED, JSON.parse('99') as S] }),
      )?.fields,
    ).toEqual(['page_size', 'page_token', 'states[0]', 'states[1]']);
  });

  it('stop with 5 s of grace by default, none when 0, at most 60', () => {
    const stop = (gracePeriod?: { seconds: bigint; nanos: number }) =>
      parseStop(StopInstanceRequest.fromPartial({ instance: 'i', gracePeriod })).graceMs;
    expect([stop(), stop(seconds(0)), stop(seconds(60))]).toEqual([5000, 0, 60_000]);
    expect(refusal(() => stop(seconds(60.5)))?.fields).toEqual(['grace_period']);
  });

  it('read the log of the workload unless told otherwise', () => {
    const logs = (source: LogSource) => parseLogs(StreamLogsRequest.fromPartial({ instance: 'i', source })).source;
    expect([
      logs(LogSource.LOG_SOURCE_UNSPECIFIED),
      logs(LogSource.LOG_SOURCE_WORKLOAD),
      logs(LogSource.LOG_SOURCE_CONSOLE),
      logs(LogSource.LOG_SOURCE_VMM),
    ]).toEqual(['workload', 'workload', 'console', 'vmm']);
    expect(refusal(() => logs(JSON.parse('4') as LogSource))?.fields).toEqual(['source']);
  });
});
