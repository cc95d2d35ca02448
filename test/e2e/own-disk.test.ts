import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { TestHost } from '../harness/test-host.js';

const run = promisify(execFile);
const GIB = 2 ** 30;
const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;

/** Says what it finds on its disk: when it starts, and in each fork once that has its task. */
const LOOK = `
echo "$GREETING $OWN"
cat /etc/app/config
stat -c '%n %a %u:%g %s' /etc/app/config /srv/tool /etc/offshoot/env.sh /etc/offshoot/tls/*
/srv/tool
env -i /bin/sh -c '. /etc/offshoot/env.sh; /usr/bin/env' 2>&1
sha256sum < /etc/offshoot/tls/key.pem
look() {
  df -P -k / | tail -n 1
}
look
echo looked
offshoot-guest mailbox arm task
offshoot-guest mailbox wait task > /dev/null
fallocate -l 1600M /large && ls -l /large
look
echo looked
offshoot-guest mailbox ack task
sync
sleep 100000
`;

describe("an instance's own disk", () => {
  let host: TestHost;
  let scratch: string;
  let key: string;
  let certificate: string;
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'own-disk-'));
    [key, certificate] = [join(scratch, 'key.pem'), join(scratch, 'cert.pem')];
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    await run('openssl', ['req', ...kind, '-subj', '/CN=guest', '-keyout', key, '-out', certificate]);
    host = await TestHost.start();
    await host.create({
      name: 'source',
      diskBytes: BigInt(3 * GIB),
      env: { GREETING: "it's\nhere", OWN: 'of the instance' },
      files: [
        { path: '/etc/app/config', mode: 0, uid: 1234, gid: 1235, content: Buffer.from('configured\n') },
        { path: '/srv/tool', mode: 0o755, uid: 0, gid: 0, content: Buffer.from('#!/bin/sh\necho tool runs\n') },
      ],
      tls: { certificate: readFileSync(certificate, 'utf8'), privateKey: readFileSync(key, 'utf8'), authorities: '' },
      workload: { argv: ['sh', '-c', LOOK], env: { OWN: 'of the workload' }, workingDirectory: '', files: [] },
    });
  });
  afterAll(async () => {
    rmSync(scratch, { recursive: true, force: true });
    await host[Symbol.asyncDispose]();
  });

  /** What the workload said of its disk. */
  async function look(name: string): Promise<string> {
    const said: string[] = [];
    for await (const line of host.logLines(name)) {
      if (line === 'looked') break;
      said.push(line);
    }
    return said.join('\n');
  }
  /** Kibibytes the root file system has, as `df` says. */
  const kibibytes = (said: string): number => Number(/^\/\S+ +(\d+) .* \/$/m.exec(said)?.[1]);
  /** The disk as raw bytes. */
  async function rawDiskOf(name: string): Promise<string> {
    const { instance } = await host.get(name);
    const raw = join(scratch, name);
    await run('qemu-img', ['convert', '-O', 'raw', join(instance!.directory, 'disk.qcow2'), raw]);
    return raw;
  }
  const assertClean = (raw: string): Promise<unknown> => run('e2fsck', ['-f', '-n', raw], { env: { PATH } });

  /** What the first boot finds, and each later one of the same disk or a fork's. */
  function assertLaid(said: string): void {
    const sum = createHash('sha256').update(readFileSync(key)).digest('hex');
    for (const line of [
      "it's\nhere of the workload\nconfigured\n",
      '/etc/app/config 600 1234:1235 11\n',
      '/srv/tool 755 0:0 25\n',
      '/etc/offshoot/env.sh 600 0:0 ',
      '/etc/offshoot/tls/cert.pem 644 0:0 ',
      '/etc/offshoot/tls/key.pem 600 0:0 ',
      'tool runs\n',
      "GREETING=it's\nhere\n",
      sum,
    ])
      expect(said).toContain(line);
  }

  it('is as large as was asked for, and its file system fills it, with all that was to lie on it', async () => {
    expect((await host.get('source')).instance!.diskBytes).toBe(BigInt(3 * GIB));
    const said = await look('source');
    const size = kibibytes(said);
    expect(size).toBeGreaterThan((3 * GIB * 0.93) / 1024);
    expect(size).toBeLessThan((3 * GIB) / 1024);
    assertLaid(said);
  });

  it('is as large in a fork, which can fill it, and stays clean', async () => {
    await host.standby('source', 'task');
    const mailboxes = [{ name: 'task', payload: { $case: 'json' as const, json: '{}' } }];
    const { instance } = await host.fork({ source: 'source', name: 'fork', mailboxes });
    expect(instance!.diskBytes).toBe(BigInt(3 * GIB));
    const said = await look('fork');
    expect(said).toMatch(/ 1677721600 .* \/large/);
    expect(kibibytes(said)).toBeGreaterThan((3 * GIB * 0.93) / 1024);
    await host.stop('fork');
    await host.stop('source');
    for (const name of ['fork', 'source']) {
      const raw = await rawDiskOf(name);
      expect((await stat(raw)).size).toBe(3 * GIB);
      await assertClean(raw);
    }
  });

  it('is as large in a fork of the disk alone, which boots from it', async () => {
    const { instance } = await host.fork({
      source: 'source',
      name: 'booted',
      targetState: InstanceState.INSTANCE_STATE_RUNNING,
    });
    expect(instance!.diskBytes).toBe(BigInt(3 * GIB));
    const said = await look('booted');
    expect(kibibytes(said)).toBeGreaterThan((3 * GIB * 0.93) / 1024);
    assertLaid(said);
  });

  it("is the image's size where nothing was asked for", async () => {
    const { instance } = await host.create({ name: 'plain' });
    const { stdout } = await run('qemu-img', ['info', '-U', '--output=json', join(instance!.directory, 'disk.qcow2')]);
    expect(Number(instance!.diskBytes)).toBe((JSON.parse(stdout) as { 'virtual-size': number })['virtual-size']);
    await host.delete('plain');
  });
});

describe('a disk that cannot be written as it is to be', () => {
  it.each([
    ['debugfs', 'while it says it was', 'DATA_LOSS', 'DISK_INVALID', /\/srv\/a is not there/],
    ['resize2fs', 'and says so', 'DATA_LOSS', 'TOOL_FAILED', /resize2fs ended with status 3/],
  ])('by %s, %s, makes no instance, and leaves nothing', async (tool, _, status, reason, message) => {
    const bin = mkdtempSync(join(tmpdir(), 'broken-tools-'));
    try {
      const { stdout } = await run('sh', ['-c', `command -v ${tool}`], { env: { PATH } });
      const broken = { debugfs: `[ "$1" = -w ] || exec ${stdout.trim()} "$@"`, resize2fs: 'exit 3' }[tool] ?? '';
      writeFileSync(join(bin, tool), `#!/bin/sh\n${broken}\n`, { mode: 0o755 });
      await using host = await TestHost.start({ environment: { PATH: `${bin}:${PATH}` } });
      const before = await host.traces();
      const files = [{ path: '/srv/a', mode: 0, uid: 0, gid: 0, content: Buffer.from('a') }];
      const failure = await failureOf(host.create({ name: 'none', diskBytes: BigInt(GIB), files }));
      expect(failure).toMatchObject({ status, message: expect.stringMatching(message) as string });
      expect(failure.details.reason).toBe(reason);
      expect(await host.traces()).toEqual(before);
    } finally {
      rmSync(bin, { recursive: true });
    }
  });
});
