import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { promisify } from 'node:util';
import { InstanceState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';

const run = promisify(execFile);
const limit = { seconds: 30n, nanos: 0 };
const RECORD_BYTES = 4096;
const durableOf = (line: string): number => Number(/^durable (\d+)$/.exec(line)?.[1] ?? Number.NaN);

/** What e2fsck exits with: nothing to do; everything that was to do is done (e2fsck(8)). */
const [CLEAN, DONE] = [0, 1];

describe('forks of a VM that writes to its disk all the while', () => {
  let host: TestHost;
  let scratch: string;
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'offshoot-disk-'));
    host = await TestHost.start();
    await host.boot('source', 'disk-writer.cjs');
    await host.logLine('source', (line) => durableOf(line) >= 100);
  });
  afterAll(async () => {
    rmSync(scratch, { recursive: true });
    await host[Symbol.asyncDispose]();
  });

  /** Exit status and words of e2fsck, which are its findings and no failure of the test's own. */
  const fsck = async (mode: '-fp' | '-fn', disk: string): Promise<{ code: number; said: string }> => {
    try {
      const { stdout, stderr } = await run('e2fsck', [mode, disk]);
      return { code: CLEAN, said: stdout + stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, said: stdout + stderr };
    }
  };

  /**
   * The records on the disk of a fork that does not run, as a machine that lost its power would find them: after the journal
   * was replayed, when nothing may be left to mend.
   */
  const recordsOf = async ({ directory, name }: Instance): Promise<Buffer> => {
    const disk = join(scratch, `${name}.raw`);
    const records = join(scratch, `${name}.records`);
    try {
      await run('qemu-img', ['convert', '--force-share', '-O', 'raw', join(directory, 'disk.qcow2'), disk]);
      const replay = await fsck('-fp', disk);
      expect([CLEAN, DONE], replay.said).toContain(replay.code);
      const check = await fsck('-fn', disk);
      expect(check.code, check.said).toBe(CLEAN);
      await run('debugfs', ['-R', `dump /var/records ${records}`, disk]);
      return readFileSync(records);
    } finally {
      for (const file of [disk, records]) rmSync(file, { force: true });
    }
  };

  /** How many records there are from the first on, each as it was written. */
  const wholeRecords = (records: Buffer): number => {
    for (let n = 1; ; n++) {
      const record = records.subarray((n - 1) * RECORD_BYTES, n * RECORD_BYTES);
      if (!record.equals(Buffer.alloc(RECORD_BYTES, `record ${String(n)}\n`))) return n - 1;
    }
  };
  /** The last number the source has said to be on its disk. */
  const saidDurable = async (): Promise<number> => {
    let unread = await host.logBytes('source');
    let last = 0;
    for await (const line of host.logLines('source')) {
      if (durableOf(line) > last) last = durableOf(line);
      if ((unread -= line.length + 1) <= 0) return last;
    }
    return last;
  };

  it.each([
    ['first', true],
    ['second', true],
    ['third', true],
    ['first', false],
    ['second', false],
  ])(
    'have a clean file system, and on it what their memory says is there: the %s, workload frozen: %s',
    async (which, freezeWorkload) => {
      const name = `${which}-${freezeWorkload ? 'frozen' : 'running'}`;
      const before = await saidDurable();
      const { acks } = await host.fork({
        source: 'source',
        name,
        fromRunning: true,
        freezeWorkload,
        mailboxes: [{ name: 'task', payload: { $case: 'json', json: '{}' }, ackTimeout: limit }],
        networkTimeout: limit,
      });
      const inMemory = Number(acks[0]!.detail);
      expect(inMemory).toBeGreaterThanOrEqual(before);
      const whole = wholeRecords(await recordsOf(await host.pause(name)));
      // One more at most: that which was on its way to the disk when the fork was told to stop.
      expect(whole).toBeGreaterThanOrEqual(inMemory);
      expect(whole).toBeLessThanOrEqual(inMemory + 1);
      await host.delete(name);
    },
  );

  it.each([true, false])(
    'have on their disk, at the moment of the capture, all that was said to be there: workload frozen: %s',
    async (freezeWorkload) => {
      const before = await saidDurable();
      const { instance } = await host.fork({
        source: 'source',
        name: 'disk',
        fromRunning: true,
        freezeWorkload,
        targetState: InstanceState.INSTANCE_STATE_STOPPED,
      });
      expect(wholeRecords(await recordsOf(instance!))).toBeGreaterThanOrEqual(before);
      await host.delete('disk');
    },
  );

  it('leave the source writing', async () => {
    const before = await saidDurable();
    expect(durableOf(await host.logLine('source', (line) => durableOf(line) > before))).toBeGreaterThan(before);
  });
});
