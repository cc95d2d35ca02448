import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import { expect } from 'vitest';
import type { TestHost } from './test-host.js';

/** Of test/guest/disk-writer.cjs. */
const RECORD_BYTES = 4096;

/** What e2fsck exits with: nothing to do; everything that was to do is done (e2fsck(8)). */
const [CLEAN, DONE] = [0, 1];

/** The number of a record that a line of the guest's log says to be on its disk; NaN for another line. */
export const durableOf = (line: string): number => Number(/^durable (\d+)$/.exec(line)?.[1] ?? Number.NaN);

/** The last number a guest has said to be on its disk. */
export async function saidDurable(host: TestHost, instance: string): Promise<number> {
  let unread = await host.logBytes(instance);
  let last = 0;
  for await (const line of host.logLines(instance)) {
    if (durableOf(line) > last) last = durableOf(line);
    if ((unread -= line.length + 1) <= 0) return last;
  }
  return last;
}

/**
 * How many records from the first on are whole on a disk that no VM has, as a machine that lost its power would find them: after
 * the journal was replayed, when nothing may be left to mend. A raw disk is replayed in its place.
 * @param disk a qcow2 or raw file, or a device; its name tells which
 */
export async function recordsOn(disk: string): Promise<number> {
  const scratch = mkdtempSync(join(tmpdir(), 'offshoot-disk-'));
  const [copy, records] = [join(scratch, 'disk.raw'), join(scratch, 'records')];
  try {
    const isRaw = basename(disk).endsWith('.raw');
    if (!isRaw) await execa('qemu-img', ['convert', '--force-share', '-O', 'raw', disk, copy]);
    const raw = isRaw ? disk : copy;
    const replay = await execa('e2fsck', ['-fp', raw], { reject: false });
    expect([CLEAN, DONE], replay.stdout + replay.stderr).toContain(replay.exitCode);
    const check = await execa('e2fsck', ['-fn', raw], { reject: false });
    expect(check.exitCode, check.stdout + check.stderr).toBe(CLEAN);
    await execa('debugfs', ['-R', `dump /var/records ${records}`, raw]);
    return wholeRecords(readFileSync(records));
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function wholeRecords(records: Buffer): number {
  for (let n = 1; ; n++) {
    const record = records.subarray((n - 1) * RECORD_BYTES, n * RECORD_BYTES);
    if (!record.equals(Buffer.alloc(RECORD_BYTES, `record ${String(n)}\n`))) return n - 1;
  }
}
