import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OutputRing } from './output-ring.js';
import { WorkloadCgroup } from './workload-cgroup.js';
import { Workload, type WorkloadRequest } from './workload.js';
import { MAX_FILES_BYTES } from './workload-files.js';

describe('a workload', () => {
  let directory: string;
  let output: OutputRing;
  let workload: Workload;

  const request = (changes: Partial<WorkloadRequest>): WorkloadRequest => ({
    argv: [],
    env: {},
    workingDirectory: '',
    files: [],
    ...changes,
  });
  const text = (): string => output.read(0, 64 * 1024).data.toString();
  const ended = (): Promise<string> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (text().includes('offshoot: workload ')) resolve(text());
      };
      output.onAppend(look);
      look();
    });

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'offshoot-workload-'));
    output = new OutputRing();
    workload = new Workload(output, WorkloadCgroup.open('/nonexistent'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('finds its files, environment and working directory, and its end is the last line of the output', async () => {
    const script = join(directory, 'deep/run.sh');
    const files = [
      { path: script, mode: 0o755, content: Buffer.from('#!/bin/sh\necho $GREETING; pwd; printf x >&2; exit 3\n') },
    ];
    const pid = await workload.start(
      request({ argv: [script], env: { GREETING: 'hello' }, workingDirectory: directory, files }),
    );
    expect(pid).toBeGreaterThan(0);
    expect((await ended()).split('\n').sort()).toEqual(
      ['', 'hello', directory, 'x', 'offshoot: workload exited with code 3'].sort(),
    );
    expect(text().endsWith('offshoot: workload exited with code 3\n')).toBe(true);
    expect((await stat(script)).mode & 0o777).toBe(0o755);
  });

  it('is refused while another runs, and taken when that has ended', async () => {
    const pid = await workload.start(request({ argv: ['sleep', '60'] }));
    await expect(workload.start(request({ argv: ['true'] }))).rejects.toMatchObject({ reason: 'WORKLOAD_RUNNING' });
    process.kill(pid, 'SIGKILL');
    expect(await ended()).toBe('offshoot: workload was ended by SIGKILL\n');
    expect(await workload.start(request({ argv: ['true'] }))).toBeGreaterThan(0);
  });

  it('may be files alone', async () => {
    const path = join(directory, 'secret');
    expect(await workload.start(request({ files: [{ path, mode: 0o400, content: Buffer.from('s') }] }))).toBe(0);
    expect([await readFile(path, 'utf8'), (await stat(path)).mode & 0o777]).toEqual(['s', 0o400]);
    expect(await workload.start(request({}))).toBe(0);
  });

  it('that cannot be started is refused, and another can be', async () => {
    await expect(workload.start(request({ argv: ['/nonexistent'] }))).rejects.toMatchObject({
      reason: 'WORKLOAD_START',
    });
    await expect(workload.start(request({ argv: ['a\0b'] }))).rejects.toMatchObject({ kind: 'InvalidInput' });
    expect(await workload.start(request({ argv: ['true'] }))).toBeGreaterThan(0);
  });

  it.each([
    ['a relative path', { path: 'etc/x' }],
    ['a path with ..', { path: '/tmp/../etc/x' }],
    ['a folder', { path: '/tmp/' }],
    ['a NUL in the path', { path: '/tmp/a\0b' }],
    ['a mode that is no permission', { mode: 0o100000 }],
    ['more than a MiB', { content: Buffer.alloc(MAX_FILES_BYTES + 1) }],
  ])('is refused before anything is written with %s', async (_, changes) => {
    const good = { path: join(directory, 'first'), mode: 0o644, content: Buffer.from('x') };
    const bad = { ...good, path: join(directory, 'second'), ...changes };
    await expect(workload.start(request({ files: [good, bad] }))).rejects.toMatchObject({ kind: 'InvalidInput' });
    await expect(stat(good.path)).rejects.toThrow('ENOENT');
  });
});
