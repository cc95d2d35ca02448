import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unlessLocked, withBuildLock } from './build-lock.js';
import type { ChildProcess } from 'node:child_process';

let folder: string;
let path: string;
let holder: ChildProcess | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-lock-'));
  path = join(folder, '.build.lock');
});
afterEach(async () => {
  holder?.stdin?.end();
  holder = undefined;
  await rm(folder, { recursive: true });
});

/** Another process that has the lock until its standard input ends. */
async function holdElsewhere(): Promise<ChildProcess> {
  holder = spawn('flock', [path, 'sh', '-c', 'echo held; read -r line'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(holder.stdout!, 'data');
  return holder;
}

const never = new AbortController().signal;

describe('the build lock', () => {
  it('is had by one at a time, also inside one process', async () => {
    const order: string[] = [];
    const turn = (name: string) => async (): Promise<void> => {
      order.push(`${name} in`);
      await new Promise(setImmediate);
      order.push(`${name} out`);
    };
    await Promise.all([withBuildLock(path, never, turn('a')), withBuildLock(path, never, turn('b'))]);
    expect(order).toEqual(['a in', 'a out', 'b in', 'b out']);
  });

  it('is waited for while another process has it', async () => {
    const other = await holdElsewhere();
    let released = false;
    const waiting = withBuildLock(path, never, () => Promise.resolve(released));
    released = true;
    other.stdin!.end();
    expect(await waiting).toBe(true);
  });

  it('is no longer waited for when the signal fires', async () => {
    await holdElsewhere();
    const controller = new AbortController();
    const waiting = withBuildLock(path, controller.signal, () => Promise.resolve('got it'));
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ kind: 'Aborted' });
  });

  it('is free again after a failure', async () => {
    await expect(withBuildLock(path, never, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    expect(await withBuildLock(path, never, () => Promise.resolve('free'))).toBe('free');
  });

  it('is not waited for by what only has sense where nobody has it', async () => {
    const ran: string[] = [];
    const run = (name: string) => unlessLocked(path, () => Promise.resolve(void ran.push(name)));
    const other = await holdElsewhere();
    await run('locked');
    other.stdin!.end();
    await once(other, 'exit');
    await run('free');
    await withBuildLock(path, never, () => run('locked by ourselves'));
    expect(ran).toEqual(['free']);
  });
});
