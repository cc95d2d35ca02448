import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jailNameOf } from './jail-name.js';
import { ProcOrphans, processesIn } from './proc-orphans.js';
import { belongsTo, processPlaces } from './process-places.js';

const VM = '/state/instances/01hx';

describe('where processes belong', () => {
  let proc: string;
  beforeAll(async () => {
    proc = await mkdtemp(join(tmpdir(), 'proc-'));
  });
  afterAll(() => rm(proc, { recursive: true }));

  async function add(pid: number, folder: string, ...words: string[]): Promise<void> {
    await mkdir(join(proc, String(pid)));
    await symlink(folder, join(proc, String(pid), 'cwd'));
    await writeFile(join(proc, String(pid), 'cmdline'), words.map((word) => `${word}\0`).join(''));
  }

  it('is the folder they work in, or the one their jail is named after', async () => {
    await add(10, VM, 'qemu');
    await add(11, `${VM} (deleted)`, 'qemu');
    await add(12, '/', '/firecracker', '--id', jailNameOf(VM), '--start-time-us', '1');
    await add(20, `${VM}/logs`, 'tail');
    await add(21, '/state/instances/01hy', 'qemu');
    await add(22, '/', '/firecracker', '--id', jailNameOf('/other/instances/01hx'));
    await add(23, '/', 'firecracker', '--id');
    await add(24, '/');
    // Who works elsewhere may say what they like.
    await add(25, '/home', 'echo', '--id', jailNameOf(VM));
    await mkdir(join(proc, 'sys'));
    await mkdir(join(proc, '30')); // gone while it is looked at
    const mine = (await processPlaces(proc)).filter(belongsTo([VM])).map(({ pid }) => pid);
    expect(mine.sort()).toEqual([10, 11, 12]);
  });

  it('is how one in a jail is found and ended that no record names', async () => {
    const directory = join(proc, 'instance');
    const words = [
      '-e',
      'setInterval(() => undefined, 1000); console.log("runs")',
      '--',
      '--id',
      jailNameOf(directory),
    ];
    const child = spawn(process.execPath, words, { cwd: '/', stdio: ['ignore', 'pipe', 'ignore'] });
    const ended = once(child, 'exit');
    try {
      await once(child.stdout, 'data');
      expect(await processesIn(directory)).toEqual([child.pid]);
      await new ProcOrphans().endProcessesOf([directory]);
      expect(await ended).toEqual([null, 'SIGKILL']);
      expect(await processesIn(directory)).toEqual([]);
    } finally {
      child.kill('SIGKILL');
    }
  });
});
