import { InstanceState as S } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import {
  CreateInstanceRequest,
  ListInstancesRequest,
  LogSource,
  StandbyInstanceRequest,
  StopInstanceRequest,
  StreamLogsRequest,
  WorkloadFile,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { describe, expect, it } from 'vitest';
import { parseCreate, parseInstance, parseList, parseLogs, parseStandby, parseStop } from './instance-requests.js';
import { refusal, seconds } from './testing/refusal.js';

const MIB = 2 ** 20;

const create = (partial: Parameters<typeof CreateInstanceRequest.fromPartial>[0]) =>
  parseCreate(CreateInstanceRequest.fromPartial(partial));
describe('CreateInstance', () => {
  it('fills in every default', () => {
    expect(create({})).toEqual({
      name: undefined,
      image: 'default',
      driver: undefined,
      vcpus: 1,
      memoryBytes: 512 * MIB,
      diskBytes: undefined,
      injection: { env: {}, files: [], tls: undefined },
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

  it.each([MIB, 513 * MIB, 524_288 * MIB])('takes %d bytes of disk', (bytes) => {
    expect(create({ diskBytes: BigInt(bytes) }).diskBytes).toBe(bytes);
  });

  it.each([1n, BigInt(MIB) + 4096n, BigInt(524_289 * MIB), 2n ** 64n - 1n])(
    'refuses %d bytes of disk, saying what would do',
    (diskBytes) => {
      const refused = refusal(() => create({ diskBytes }));
      expect(refused?.fields).toEqual(['disk_bytes']);
      expect(refused?.text).toMatch(/multiple of 1 MiB up to 512 GiB .* got \d+/);
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
