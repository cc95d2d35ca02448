import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';
import { CommandLine, ran } from './command-line.js';

const worker = fileURLToPath(new URL('../guest/fork-worker.cjs', import.meta.url));
const bin = fileURLToPath(new URL('../../bin/', import.meta.url));

/** protobuf's JSON for a Duration of some time. */
const A_DURATION = expect.stringMatching(/^\d+(\.\d+)?s$/) as string;
const A_NUMBER_AS_TEXT = expect.stringMatching(/^[1-9]\d*$/) as string;
const TOKEN = 'a token of the test';
/** Forks under emulation on a busy machine: time enough for everything. */
const PATIENTLY = ['--ack-timeout', '30', '--network-timeout', '30'];

let scratch: string;
let host: TestHost;
let cli: CommandLine;
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'offshoot-cli-'));
  host = await TestHost.start();
  cli = new CommandLine(host.daemon.address);
});
afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await host[Symbol.asyncDispose]();
});

/** A file of this test, by its path. */
function file(name: string, content: string | Buffer): string {
  const path = join(scratch, name);
  writeFileSync(path, content);
  return path;
}

// In the order of a session: each goes on with what the one before left.
describe('offshoot', () => {
  it('finds the default image built, and lists it', async () => {
    expect(await cli.text('image', 'build-default')).toMatch(/^image default is ready: [0-9a-f]{12}, kernel \S+\n$/);
    const { image } = (await cli.json('image', 'build-default')) as { image: { id: string } };
    expect(image).toMatchObject({ name: 'default', diskBytes: A_NUMBER_AS_TEXT });
    expect(await cli.json('image', 'ls')).toMatchObject({
      images: expect.arrayContaining([expect.objectContaining(image)]) as unknown,
    });
    expect(await cli.text('image', 'ls')).toMatch(new RegExp(`^default +${image.id.slice(0, 12)} `, 'm'));
  });

  it('runs a command with files and environment in a new VM', async () => {
    const commands = `echo "greeting $GREETING in $PWD"; offshoot-guest mailbox arm extra --token '${TOKEN}'; exec node /srv/worker.cjs`;
    const response = await cli.json(
      ...['run', '--name', 'source', '--label', 'of=cli', '--label', 'kind=source', '--memory', '384', '--cpus', '1'],
      ...[
        '--file',
        `${worker}:/srv/worker.cjs`,
        '--env',
        'GREETING=hello',
        '--workdir',
        '/srv',
        '--',
        'sh',
        '-c',
        commands,
      ],
    );
    expect(response).toMatchObject({
      instance: {
        name: 'source',
        state: 'INSTANCE_STATE_RUNNING',
        labels: { of: 'cli', kind: 'source' },
        driver: 'qemu',
        vcpus: 1,
        memoryBytes: '402653184',
        forkedFrom: '',
      },
      bootTime: A_DURATION,
    });
  });

  it('prints its log, and goes on as more is written', async () => {
    expect(await cli.untilLine('armed', 'logs', '--follow', 'source')).toBe(130);
    expect(await cli.text('logs', 'source')).toMatch(/^greeting hello in \/srv$/m);
    const { data } = (await cli.json('logs', 'source')) as { data: string };
    expect(Buffer.from(data, 'base64').toString()).toMatch(/^greeting hello in \/srv\n/);
    expect(await cli.text('logs', '--source', 'console', 'source')).toContain('offshoot-agent: ');
    expect((await cli.run('logs', '--follow', '--json', 'source')).code).toBe(2);
  });

  it('lists instances, all or by label', async () => {
    const row = /^source +[0-9a-z]{26} +running +qemu +1 +384 MiB +10\.213\.0\.\d+ /m;
    expect(await cli.text('ps')).toMatch(row);
    expect(await cli.text('ps', '--label', 'kind=source')).toMatch(row);
    expect(await cli.text('ps', '--label', 'kind=fork')).not.toMatch(row);
    expect(await cli.json('ps', '--label', 'of=cli')).toMatchObject({
      instances: [{ name: 'source', state: 'INSTANCE_STATE_RUNNING' }],
      nextPageToken: '',
    });
  });

  it('shows an instance with its armed mailboxes', async () => {
    const text = await cli.text('inspect', 'source');
    expect(text).toMatch(/^Name: +source\n/);
    expect(text).toMatch(/^State: +running$/m);
    expect(text).toMatch(/^task +armed +[0-9a-f]{16} +1 +3840 B +- +agent +registration$/m);
    const armed = { state: 'MAILBOX_STATE_ARMED', capacityBytes: 3840, registered: true };
    expect(await cli.json('inspect', 'source')).toMatchObject({
      instance: { name: 'source' },
      mailboxes: expect.arrayContaining([
        expect.objectContaining({ name: 'task', ...armed }),
        expect.objectContaining({ name: 'extra', ...armed }),
      ]) as unknown,
    });
  });

  it('parks and restores it', async () => {
    expect(await cli.text('standby', 'source', '--wait-mailbox', 'task', '--wait-mailbox', 'extra')).toMatch(
      /^source is parked, paused for [\d.]+ m?s\n$/,
    );
    expect(await cli.json('restore', 'source')).toMatchObject({
      instance: { name: 'source', state: 'INSTANCE_STATE_RUNNING' },
      restoreTime: A_DURATION,
    });
    expect(await cli.json('standby', 'source', '--wait-mailbox', 'task')).toMatchObject({
      instance: { name: 'source', state: 'INSTANCE_STATE_STANDBY', vmmPid: 0 },
      captureTime: A_DURATION,
    });
    expect(await cli.text('restore', 'source')).toMatch(/^source runs again after [\d.]+ m?s\n$/);
    await cli.text('standby', 'source', '--wait-mailbox', 'task');
    expect(await cli.text('inspect', 'source')).toMatch(
      /^task +armed +[0-9a-f]{16} +1 +3840 B +0 +agent +registration$/m,
    );
  });

  it('forks it with a payload, and prints the answer and the phases', async () => {
    const text = await cli.text('fork', 'source', '--name', 'one', '--mailbox', 'task={"number": 1}', ...PATIENTLY);
    expect(text).toMatch(/^one runs at 10\.213\.0\.\d+\n/);
    expect(text).toMatch(
      /^task: applied after [\d.]+ m?s: \{"task":\{"number":1\},"address":"10\.213\.0\.\d+","mac":"\S+"\}$/m,
    );
    expect(text).toMatch(/^CLONE +SPAWN +LOAD +PATCH +RESUME +NETWORK +ACK +TOTAL\n(?:[\d.]+ m?s\s+){8}$/m);
  });

  it('forks it with the contents of files, with a token, and without waiting for acknowledgements', async () => {
    const bytes = Buffer.from([0, 255, 10, 128]);
    const response = await cli.json(
      ...['fork', 'source', '--name', 'two', '--label', 'of=cli', '--no-wait-ack', ...PATIENTLY],
      ...['--mailbox', `task=@${file('task.json', '{"number": 2}')}`],
      ...['--mailbox', `extra=@${file('extra', bytes)}`, '--mailbox-token', `extra=${TOKEN}`],
    );
    expect(response).toMatchObject({
      instance: { name: 'two', state: 'INSTANCE_STATE_RUNNING', labels: { of: 'cli' } },
      acks: [],
      timings: { clone: A_DURATION, spawn: A_DURATION, load: A_DURATION, patch: A_DURATION, resume: A_DURATION },
    });
    expect(await host.logLine('two', (line) => line.startsWith('task '))).toBe('task {"number": 2}');
    const { mailboxes } = (await cli.json('inspect', 'two')) as { mailboxes: { name: string; state: string }[] };
    expect(mailboxes.find(({ name }) => name === 'extra')?.state).toBe('MAILBOX_STATE_CONSUMED');
  });

  it.each([
    ['an instance that is not there', 4, 'INSTANCE_NOT_FOUND', ['inspect', 'nobody']],
    ['a mailbox that is not armed', 4, 'MAILBOX_NOT_FOUND', ['fork', 'source', '--mailbox', 'other={}']],
    [
      'a wrong token',
      4,
      'MAILBOX_TOKEN_MISMATCH',
      ['fork', 'source', '--mailbox', 'extra=1', '--mailbox-token', 'extra=x'],
    ],
    ['a taken name', 5, 'INSTANCE_NAME_TAKEN', ['fork', 'source', '--name', 'one']],
    ['a running source', 6, 'INSTANCE_STATE', ['fork', 'one']],
    ['a running instance to remove', 6, 'INSTANCE_STATE', ['rm', 'one']],
    ['an unknown command', 2, 'USAGE', ['frok', 'source']],
    ['a missing argument', 2, 'USAGE', ['fork']],
    ['a number that is none', 2, 'USAGE', ['run', '--memory', 'much']],
    ['a malformed name', 2, 'NAME_MALFORMED', ['fork', 'source', '--name', 'No']],
    ['a payload that is no JSON', 2, 'MAILBOX_NOT_JSON', ['fork', 'source', '--mailbox', 'task=hello']],
    ['a file that is not there', 2, 'FILE_UNREADABLE', ['fork', 'source', '--mailbox', 'task=@/nowhere']],
    [
      'an acknowledgement that does not come',
      8,
      'ACK_TIMEOUT',
      ['fork', 'source', '--mailbox', 'extra=1', '--ack-timeout', '0.2'],
    ],
    ['a guest that refuses', 10, 'GUEST_FAILED', ['fork', 'source', '--mailbox', 'task={"fail": "no"}', ...PATIENTLY]],
  ])('fails for %s with exit code %i and %s', async (_what, code, reason, args) => {
    expect(await cli.failure(...args)).toMatchObject({ code, error: { reason } });
  });

  it('fails with exit code 3 when there is no daemon', async () => {
    const nowhere = `unix://${join(scratch, 'api.sock')}`;
    const { code, message } = await cli.failure('--host', nowhere, 'ps');
    expect(code).toBe(3);
    expect(message).toBe(`cannot reach the daemon at ${nowhere}: there is no such socket; is offshootd running?`);
  });

  it('stops and removes instances', async () => {
    expect(await cli.text('stop', 'one', '--grace', '20')).toBe('one is stopped\n');
    expect(await cli.json('stop', 'two', '--grace', '0')).toMatchObject({
      instance: { name: 'two', state: 'INSTANCE_STATE_STOPPED', vmmPid: 0 },
    });
    expect(await cli.text('rm', 'one', 'two')).toBe('one\ntwo\n');
    expect(await cli.json('rm', '--force', 'source')).toEqual({ deleted: ['source'] });
    expect(await host.traces()).toEqual({ rows: [], folders: 0, processes: 0, taps: 0 });
  });

  it('tells its version and the host', async () => {
    expect(await cli.text('version')).toMatch(/^offshoot \d+\.\d+\.\d+\noffshootd \d+\.\d+\.\d+ \(unix:.+\)\n$/);
    const { client, daemon } = (await cli.json('version')) as { client: string; daemon: string };
    expect(daemon).toBe(client);
    expect(await cli.json('--host', `unix://${join(scratch, 'api.sock')}`, 'version')).toEqual({
      client,
      daemon: null,
    });
    expect(await cli.text('host')).toMatch(
      /^qemu +\d+\.\d+.* snapshot fork mailbox memoryCow forkRunning diffSnapshot userNetwork diskLayers$/m,
    );
    expect(await cli.json('host')).toMatchObject({
      version: daemon,
      drivers: [
        { name: 'qemu', available: true },
        { name: 'firecracker', available: false },
        { name: 'cloud-hypervisor', available: false },
        { name: 'vz', available: false, unavailableReason: expect.stringContaining('macOS') as string },
        { name: 'libkrun', available: false },
      ],
      capacity: { memoryBytes: A_NUMBER_AS_TEXT, addresses: 4000 },
      usage: { instances: 0, guestMemoryBytes: '0' },
    });
  });
});

describe.each(['offshoot', 'offshootd'])('bin/%s of a checkout that is not ready', (name) => {
  let checkout: string;
  beforeAll(() => {
    checkout = join(scratch, `checkout-of-${name}`);
    mkdirSync(join(checkout, 'bin'), { recursive: true });
    for (const each of [name, 'launch.mjs']) copyFileSync(join(bin, each), join(checkout, 'bin', each));
    chmodSync(join(checkout, 'bin', name), 0o755);
  });

  it('says that it is not built', async () => {
    expect(await ran(join(checkout, 'bin', name), ['--help'], process.env)).toEqual({
      code: 1,
      stdout: '',
      stderr: `${name}: this checkout is not built: run "make build" first\n`,
    });
  });

  it('says that Node is missing', async () => {
    expect(await ran(join(checkout, 'bin', name), ['--help'], { PATH: '/nowhere' })).toEqual({
      code: 1,
      stdout: '',
      stderr: `${name}: Node.js is not installed or not on the PATH; version 20 or later is needed ("make setup" installs it)\n`,
    });
  });
});
