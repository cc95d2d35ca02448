import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { availableMemory } from './available-memory.js';

const MIB = 2 ** 20;

describe('the memory that can still be used', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'offshoot-memory-'));
    write('proc/meminfo', 'MemTotal:        8388608 kB\nMemFree:          100000 kB\nMemAvailable:    4194304 kB\n');
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });
  const write = (path: string, content: string | number): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), String(content));
  };

  it('is what the kernel of this host says, in bytes', () => {
    const before = availableMemory();
    expect(before).toBeGreaterThan(16 * MIB);
    expect(before).toBeLessThan(2 ** 50);
  });

  it("is the host's where no control group has a limit", () => {
    expect(availableMemory(root)).toBe(4096 * MIB);
    write('proc/self/cgroup', '0::/system.slice/offshoot.service\n');
    write('sys/fs/cgroup/system.slice/offshoot.service/memory.max', 'max\n');
    write('sys/fs/cgroup/system.slice/offshoot.service/memory.current', 300 * MIB);
    expect(availableMemory(root)).toBe(4096 * MIB);
  });

  it('is what a group leaves, page cache not counted', () => {
    write('proc/self/cgroup', '0::/system.slice/offshoot.service\n');
    write('sys/fs/cgroup/system.slice/offshoot.service/memory.max', 1024 * MIB);
    write('sys/fs/cgroup/system.slice/offshoot.service/memory.current', 900 * MIB);
    write(
      'sys/fs/cgroup/system.slice/offshoot.service/memory.stat',
      `anon ${String(200 * MIB)}\nfile ${String(700 * MIB)}\ninactive_file ${String(300 * MIB)}\nactive_file ${String(400 * MIB)}\n`,
    );
    expect(availableMemory(root)).toBe(824 * MIB);
  });

  it('is that of the narrowest group above', () => {
    write('proc/self/cgroup', '0::/a/b\n');
    for (const [path, limit] of Object.entries({ 'a/b': 900, a: 600 })) {
      write(`sys/fs/cgroup/${path}/memory.max`, limit * MIB);
      write(`sys/fs/cgroup/${path}/memory.current`, 100 * MIB);
    }
    expect(availableMemory(root)).toBe(500 * MIB);
  });

  it('knows the older controllers, and containers that show only their own group', () => {
    write('proc/self/cgroup', '3:cpu:/\n4:memory:/docker/abc\n0::/\n');
    write('sys/fs/cgroup/memory/memory.limit_in_bytes', 512 * MIB);
    write('sys/fs/cgroup/memory/memory.usage_in_bytes', 500 * MIB);
    write('sys/fs/cgroup/memory/memory.stat', `total_inactive_file ${String(100 * MIB)}\n`);
    expect(availableMemory(root)).toBe(112 * MIB);
  });

  it('is none, rather than less than none, above a limit that was lowered', () => {
    write('proc/self/cgroup', '0::/\n');
    write('sys/fs/cgroup/memory.max', 100 * MIB);
    write('sys/fs/cgroup/memory.current', 200 * MIB);
    expect(availableMemory(root)).toBe(0);
  });
});
