import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';

const run = promisify(execFile);
const GIB = 2 ** 30;
const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;

/** Says what it finds on its disk: when it starts, and in each fork once that has its task. */
const LOOK = `
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
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'own-disk-'));
    host = await TestHost.start();
    await host.create({
      name: 'source',
      diskBytes: BigInt(3 * GIB),
      workload: { argv: ['sh', '-c', LOOK], env: {}, workingDirectory: '', files: [] },
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

  it('is as large as was asked for, and its file system fills it', async () => {
    expect((await host.get('source')).instance!.diskBytes).toBe(BigInt(3 * GIB));
    const size = kibibytes(await look('source'));
    expect(size).toBeGreaterThan((3 * GIB * 0.93) / 1024);
    expect(size).toBeLessThan((3 * GIB) / 1024);
  });

  it('is as large in a fork, which can fill it, and stays clean', async () => {
    await host.standby('source', 'task');
    const mailboxes = [
      { name: 'task', payload: { $case: 'json' as const, json: '{}' }, ackTimeout: { seconds: 30n, nanos: 0 } },
    ];
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
    expect(kibibytes(await look('booted'))).toBeGreaterThan((3 * GIB * 0.93) / 1024);
  });

  it("is the image's size where nothing was asked for", async () => {
    const { instance } = await host.create({ name: 'plain' });
    const { stdout } = await run('qemu-img', ['info', '-U', '--output=json', join(instance!.directory, 'disk.qcow2')]);
    expect(Number(instance!.diskBytes)).toBe((JSON.parse(stdout) as { 'virtual-size': number })['virtual-size']);
    await host.delete('plain');
  });
});
