import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeHost } from '../grpc/testing/fake-host.js';
import { ServedHost } from '../grpc/testing/serve.js';
import { CLI, OFFSHOOT, TIMEOUT_MS, isBuilt, lacksBuild, runOffshoot, type Ran } from './testing/run-offshoot.js';

let served: ServedHost;
let folder: string;
beforeAll(async () => {
  served = await ServedHost.start();
  folder = await mkdtemp(join(tmpdir(), 'offshoot-cli-'));
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const offshoot = (args: readonly string[], { host = served.server.address, input = '' } = {}): Promise<Ran> =>
  runOffshoot(args, host, input);

/** The one document on stdout. */
async function json(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await offshoot([...args, '--json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

describe.skipIf(!isBuilt)(`the command line${lacksBuild}`, { timeout: TIMEOUT_MS }, () => {
  it('runs, lists, inspects, parks, forks, restores, stops and removes an instance', async () => {
    const file = join(folder, 'work.sh');
    await writeFile(file, 'echo hi\n');
    await chmod(file, 0o750);
    const run = await offshoot([
      ...[
        'run',
        '--name',
        'one',
        '--memory',
        '256',
        '--disk-size',
        '10GiB',
        '--label',
        'team=a',
        '--env',
        'X=1=2',
        '--file',
        `${file}:/opt/work.sh`,
      ],
      ...['--', 'sh', '/opt/work.sh', '--json', '--name', 'inner'],
    ]);
    expect(run).toMatchObject({ code: 0, stdout: 'one runs at 10.0.0.2, booted in 4.32 s' });
    expect((await offshoot(['image', 'ls'])).stdout).toMatch(/ 256 MiB .* 1 instance$/);
    expect(served.fake.asked.at(-1)).toMatchObject({
      call: 'create',
      command: {
        name: 'one',
        memoryBytes: 256 * 2 ** 20,
        diskBytes: 10 * 2 ** 30,
        labels: { team: 'a' },
        workload: {
          argv: ['sh', '/opt/work.sh', '--json', '--name', 'inner'],
          env: { X: '1=2' },
          files: [{ path: '/opt/work.sh', mode: 0o750, content: Buffer.from('echo hi\n') }],
        },
      },
    });

    expect((await offshoot(['ps'])).stdout).toMatch(
      /^NAME +ID +STATE .*\none +[0-9a-z]{26} +running +qemu +1 +256 MiB /,
    );
    expect((await offshoot(['inspect', 'one'])).stdout).toMatch(
      /Disk: +10 GiB\n[^]*Address: +10\.0\.0\.2\/24\n[^]*Disk use: +12 MiB own, 130 MiB shared\n[^]*MAILBOX[^]*\ntask +armed +/,
    );
    expect((await offshoot(['logs', 'one', '--source', 'console'])).stdout).toBe('console of one');
    const standby = await offshoot(['standby', 'one', '--wait-mailbox', 'task', '--wait-timeout', '1.5']);
    expect(standby.stdout).toBe('one is parked, paused for 7.3 ms');
    expect(served.fake.asked.at(-1)?.command).toMatchObject({ waitMailboxes: ['task'], waitTimeoutMs: 1500 });

    const payload = join(folder, 'payload.json');
    await writeFile(payload, '{"n": 7}\n');
    const fork = await offshoot([
      ...['fork', 'one', '--name', 'two', '--mailbox', `task=@${payload}`, '--mailbox-token', 'task=tok'],
      ...['--ack-timeout', '2', '--no-wait-network'],
    ]);
    expect(fork.stdout).toMatch(
      /^two runs at 10\.0\.0\.2\ntask: applied after 12 ms: 42\nCLONE +SPAWN .*\n1\.0 ms +40 ms /,
    );
    expect(served.fake.asked.at(-1)?.command).toMatchObject({
      waitForNetwork: false,
      mailboxes: [
        {
          name: 'task',
          token: 'tok',
          contentType: 'json',
          payload: Buffer.from('{"n": 7}\n'),
          waitForAck: true,
          ackTimeoutMs: 2000,
        },
      ],
    });
    expect((await offshoot(['restore', 'one'])).stdout).toBe('one runs again after 55 ms');
    expect((await offshoot(['stop', 'one', '--grace', '0'])).stdout).toBe('one is stopped');
    expect(served.fake.asked.at(-1)?.command).toMatchObject({ graceMs: 0 });
    expect(await offshoot(['rm', '--force', 'one', 'two'])).toMatchObject({ code: 0, stdout: 'one\ntwo' });
    expect((await offshoot(['host'])).stdout).toMatch(/Host: +testhost\n[^]*qemu +7\.2\.0 +tcg \(no \/dev\/kvm\)/);
    expect((await offshoot(['image', 'ls'])).stdout).toMatch(/^NAME .*\ndefault +abababababab /);
    expect(await offshoot(['image', 'rm', 'default'])).toMatchObject({ code: 0, stdout: 'default' });
    expect(await offshoot(['image', 'rm', 'default', 'absent', 'default'])).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('there is no image absent') as string,
    });
    const build = await offshoot(['image', 'build-default']);
    expect(build).toMatchObject({ code: 0, stderr: '[1/2] download packages\n[2/2] make the disk' });
    expect(build.stdout).toMatch(/^image default is ready/);
  });

  it("prints one document in protobuf's JSON mapping for every verb", async () => {
    const created = await json('run', '--name', 'j');
    expect(created).toMatchObject({
      instance: {
        name: 'j',
        state: 'INSTANCE_STATE_RUNNING',
        stateReason: '',
        labels: {},
        memoryBytes: '536870912',
        diskBytes: '0',
        vmmPid: 0,
        createTime: '2025-01-02T03:04:05.678Z',
        network: { prefixLength: 24 },
      },
      bootTime: '4.321500s',
    });
    expect(await json('ps')).toMatchObject({ instances: [{ name: 'j' }], nextPageToken: '' });
    expect(await json('inspect', 'j')).toMatchObject({
      mailboxes: [{ state: 'MAILBOX_STATE_ARMED', generation: 0 }],
      storage: { ownBytes: '12582912', sharedBytes: '136314880' },
    });
    expect(await json('logs', 'j')).toEqual({ data: Buffer.from('workload of j\n').toString('base64') });
    expect(await json('standby', 'j')).toMatchObject({ captureTime: '0.007250s' });
    expect(await json('fork', 'j', '--name', 'k', '--mailbox', 'task=1')).toMatchObject({
      instance: { name: 'k' },
      acks: [{ mailbox: 'task', stage: 'applied', latency: '0.012s' }],
      timings: { clone: '0.001s', patch: '0.000500s' },
    });
    expect(await json('restore', 'j')).toMatchObject({ restoreTime: '0.055s' });
    expect(await json('stop', 'j')).toMatchObject({ instance: { state: 'INSTANCE_STATE_STOPPED' } });
    expect(await json('rm', 'j', 'k', '--force')).toEqual({ deleted: ['j', 'k'] });
    expect(await json('image', 'ls')).toMatchObject({ images: [{ diskBytes: '536870912' }] });
    expect(await json('image', 'build-default')).toMatchObject({ image: { name: 'default' } });
    expect(await json('host')).toMatchObject({
      capacity: { memoryBytes: '8589934592' },
      usage: { runningInstances: 0 },
    });
    expect(await json('version')).toMatchObject({ daemon: '9.9.9' });
  });

  it('tells every finding of a doctor with what to do, and by its exit code whether one failed', async () => {
    await using examined = await ServedHost.start();
    const { address } = examined.server;
    const well = await offshoot(['doctor', '--fix'], { host: address });
    expect(well).toMatchObject({ code: 0, stderr: '' });
    expect(well.stdout.split('\n').map((line) => line.replace(/ +/g, ' '))).toEqual([
      'pass kernel Linux 6.1',
      'warn kvm there is no /dev/kvm',
      ' -> load the module',
      '',
      'summary: 1 pass, 1 warn, 0 fail',
    ]);
    expect(examined.fake.asked.at(-1)).toEqual({ call: 'doctor', command: { fix: true } });
    examined.fake.checks = [{ name: 'clock', outcome: 'fail', detail: 'it is 1970', remedy: 'set it' }];
    const ill = await offshoot(['doctor', '--json'], { host: address });
    expect(ill).toMatchObject({ code: 1, stderr: '' });
    expect(JSON.parse(ill.stdout)).toEqual({
      checks: [{ name: 'clock', outcome: 'CHECK_OUTCOME_FAIL', detail: 'it is 1970', remedy: 'set it' }],
      summary: { pass: 0, warn: 0, fail: 1 },
    });
  });

  it('tells whose a credential is that it is given on its standard input, and quotes it nowhere', async () => {
    const fake = new FakeHost();
    await using own = await ServedHost.start(fake);
    const host = own.server.address;
    await offshoot(['run', '--name', 'holder'], { host });
    const [known, unknown] = ['a'.repeat(43), 'b'.repeat(43)];
    fake.credentials.set(known, 'holder');
    const told = await offshoot(['identify'], { host, input: `${known}\n` });
    expect(told).toMatchObject({ code: 0, stdout: expect.stringMatching(/^holder \(\w+\), running$/) as string });
    const document = await offshoot(['identify', '--json'], { host, input: known });
    expect(JSON.parse(document.stdout)).toMatchObject({ instance: { name: 'holder' } });
    expect(await offshoot(['identify'], { host, input: unknown })).toMatchObject({ code: 4, stdout: '' });
    const short = await offshoot(['identify'], { host, input: known.slice(1) });
    expect(short).toMatchObject({ code: 2, stderr: expect.stringContaining('got 42 characters') as string });
    expect(short.stderr).not.toContain('aaa');
  });

  it('follows the pages of a long list', async () => {
    await using many = await ServedHost.start();
    for (let i = 0; i < 1001; i++)
      await many.fake.create({
        name: `i${String(i)}`,
        image: 'default',
        driver: undefined,
        vcpus: 1,
        memoryBytes: 2 ** 29,
        diskBytes: undefined,
        injection: { env: {}, files: [], tls: undefined },
        labels: {},
        workload: undefined,
      });
    const { stdout } = await offshoot(['ps', '--json'], { host: many.server.address });
    expect((JSON.parse(stdout) as { instances: unknown[] }).instances).toHaveLength(1001);
  });

  it('sends what is to lie on the disk of an instance', async () => {
    const [file, certificate, key] = [join(folder, 'config'), join(folder, 'cert.pem'), join(folder, 'key.pem')];
    await writeFile(file, 'a: b\n', { mode: 0o600 });
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    execFileSync('openssl', ['req', ...kind, '-subj', '/CN=x', '-keyout', key, '-out', certificate], {
      stdio: 'ignore',
    });
    const disk = ['--disk-file', `${file}:/etc/app/config`, '--disk-env', 'MODE=test'];
    const tls = ['--tls-cert', certificate, '--tls-key', key, '--tls-ca', certificate];
    expect(await offshoot(['run', '--name', 'laid', ...disk, ...tls])).toMatchObject({ code: 0 });
    const pem = await readFile(certificate, 'utf8');
    expect(served.fake.asked.at(-1)).toMatchObject({
      call: 'create',
      command: {
        injection: {
          env: { MODE: 'test' },
          files: [{ path: '/etc/app/config', mode: 0o600, uid: 0, gid: 0, content: Buffer.from('a: b\n') }],
          tls: { certificate: pem, key: await readFile(key, 'utf8'), authorities: pem },
        },
      },
    });
  });

  it('cancels the call on Ctrl-C and exits with 130', async () => {
    const fake = new FakeHost();
    let begun!: () => void;
    const running = new Promise<void>((resolve) => (begun = resolve));
    let over!: (reason: unknown) => void;
    const cancelled = new Promise((resolve) => (over = resolve));
    fake.restore = (_reference, signal?: AbortSignal) =>
      new Promise((_, reject) => {
        signal?.addEventListener('abort', () => {
          over(signal.reason);
          reject(signal.reason as Error);
        });
        begun();
      });
    await using slow = await ServedHost.start(fake);
    const child = execa('node', [CLI, 'restore', 'a'], {
      env: { OFFSHOOT_HOST: slow.server.address },
      reject: false,
    });
    await running;
    child.kill('SIGINT');
    expect(await cancelled).toMatchObject({ reason: 'CALL_CANCELLED' });
    expect((await child).exitCode).toBe(130);
  });

  it('ends quietly when its reader goes', async () => {
    const fake = new FakeHost();
    const piece = Buffer.alloc(256 * 1024, 'x\n');
    fake.logs = async function* (_reference, _source, _follow, signal) {
      while (!signal.aborted) {
        yield piece;
        await Promise.resolve();
      }
    };
    await using endless = await ServedHost.start(fake);
    const child = execa(OFFSHOOT, ['logs', 'a'], {
      env: { OFFSHOOT_HOST: endless.server.address },
      reject: false,
      buffer: false,
    });
    child.stdout.once('data', () => child.stdout.destroy());
    const result = await child;
    expect({ code: result.exitCode, signal: result.signal }).toEqual({ code: 0, signal: undefined });
  });
});
