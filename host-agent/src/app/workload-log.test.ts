import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WorkloadLog } from './workload-log.js';

describe("a workload's log", () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'offshoot-log-'));
    path = join(directory, 'workload.log');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });
  const content = (): string => readFileSync(path, 'utf8');

  it('of a fork begins where its source had been read to', () => {
    using log = WorkloadLog.goOn(path, 1000);
    expect(log.offset).toBe(1000);
    log.append(1000, Buffer.from('forked\n'));
    expect(log.offset).toBe(1007);
    expect(content()).toBe('forked\n');
  });

  it('goes on under a new daemon at the byte where the old one stopped', () => {
    {
      using log = WorkloadLog.goOn(path, 1000);
      log.append(1000, Buffer.from('first\n'));
    }
    using log = WorkloadLog.goOn(path, 0);
    expect(log.offset).toBe(1006);
    log.append(1000, Buffer.from('first\nsecond\n'));
    expect(content()).toBe('first\nsecond\n');
  });

  it('goes on in the same file when the workload begins anew, whose output is counted from 0', () => {
    {
      using log = WorkloadLog.goOn(path, 0);
      log.append(0, Buffer.from('first life\n'));
    }
    {
      using log = WorkloadLog.beginAt(path, 0);
      expect(log.offset).toBe(0);
      log.append(0, Buffer.from('second life\n'));
    }
    using log = WorkloadLog.goOn(path, 0);
    expect(log.offset).toBe(12);
    expect(content()).toBe('first life\nsecond life\n');
  });

  it('starts a new file where output was lost, so that offsets stay true', () => {
    using log = WorkloadLog.goOn(path, 0);
    log.append(0, Buffer.from('before\n'));
    log.append(5000, Buffer.from('after\n'));
    expect(log.offset).toBe(5006);
    expect(content()).toBe('after\n');
    expect(readFileSync(`${path}.1`, 'utf8')).toBe('before\n');
  });

  it('keeps no more than two files of 16 MiB', () => {
    using log = WorkloadLog.goOn(path, 0);
    const piece = Buffer.alloc(2 ** 20, 'x');
    for (let i = 0; i < 40; i++) log.append(log.offset, piece);
    expect(log.offset).toBe(40 * 2 ** 20);
    expect(readFileSync(path).length).toBe(8 * 2 ** 20);
    expect(readFileSync(`${path}.1`).length).toBe(16 * 2 ** 20);
  });
});
