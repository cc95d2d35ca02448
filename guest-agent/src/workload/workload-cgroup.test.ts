import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WorkloadCgroup } from './workload-cgroup.js';

/** Where the version 2 file system of control groups is, when this process may make a group there. */
function writableMount(): string | undefined {
  const mount = /^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 /m.exec(readFileSync('/proc/self/mountinfo', 'latin1'))?.[1];
  if (mount === undefined) return undefined;
  const probe = join(mount, `offshoot-probe-${String(process.pid)}`);
  try {
    mkdirSync(probe);
    rmdirSync(probe);
    // Whoever moves processes needs rights to the group it takes them from.
    const own = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1] ?? '/';
    writeFileSync(join(mount, own, 'cgroup.procs'), String(process.pid));
    return mount;
  } catch {
    return undefined;
  }
}
const mount = writableMount();
const skipped = mount === undefined ? ' (skipped: a writable cgroup v2 hierarchy)' : '';

describe.skipIf(mount === undefined)(`the control group of a workload${skipped}`, () => {
  const name = `offshoot-test-${String(process.pid)}`;
  const never = new AbortController().signal;
  let folder: string;
  let group: WorkloadCgroup;
  let child: ChildProcess | undefined;
  const lineOf = (file: string): string => readFileSync(file, 'latin1');

  beforeEach(() => {
    folder = join(mount!, name);
    group = WorkloadCgroup.open(mount, name);
  });
  afterEach(async () => {
    group.thaw();
    if (child?.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    }
    child = undefined;
    if (existsSync(folder)) rmdirSync(folder);
  });

  it('has a child from its first instruction, and the agent not any more', () => {
    const before = lineOf('/proc/self/cgroup');
    child = group.spawnInside(() => spawn('cat', { stdio: 'pipe' }));
    expect(lineOf(`/proc/${String(child.pid)}/cgroup`)).toContain(`/${name}\n`);
    expect(lineOf('/proc/self/cgroup')).toBe(before);
  });

  it('tells the program itself where it is', async () => {
    child = group.spawnInside(() => spawn('cat', ['/proc/self/cgroup'], { stdio: 'pipe' }));
    const [text] = (await once(child.stdout!, 'data')) as [Buffer];
    expect(text.toString()).toContain(`/${name}\n`);
  });

  it('stands still until it is thawed', async () => {
    child = group.spawnInside(() => spawn('cat', { stdio: 'pipe' }));
    await group.freeze(never);
    expect([group.frozen, lineOf(join(folder, 'cgroup.events'))]).toEqual([true, expect.stringContaining('frozen 1')]);
    let answered = false;
    const answer = once(child.stdout!, 'data').then(() => (answered = true));
    child.stdin!.write('hello');
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(answered).toBe(false);
    group.thaw();
    await answer;
    expect(group.frozen).toBe(false);
  });

  it('can be frozen when it is empty', async () => {
    await group.freeze(never);
    group.thaw();
    expect(lineOf(join(folder, 'cgroup.freeze'))).toBe('0\n');
  });

  it('takes nobody while it is frozen', async () => {
    await group.freeze(never);
    expect(() => group.spawnInside(() => spawn('true'))).toThrow(
      expect.objectContaining({ reason: 'WORKLOAD_FROZEN' }),
    );
  });

  it('runs on when the freeze is given up', async () => {
    const reason = new Error('given up');
    await expect(group.freeze(AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(lineOf(join(folder, 'cgroup.freeze'))).toBe('0\n');
  });

  it('is found frozen by an agent that comes after one that died', async () => {
    await group.freeze(never);
    const next = WorkloadCgroup.open(mount, name);
    expect(next.frozen).toBe(true);
    next.thaw();
    expect(lineOf(join(folder, 'cgroup.freeze'))).toBe('0\n');
  });
});

describe('a machine without control groups', () => {
  const group = (): WorkloadCgroup => WorkloadCgroup.open('/nonexistent');

  it('has nothing to freeze before there is a workload', async () => {
    await group().freeze(new AbortController().signal);
  });

  it('runs workloads, and says that it cannot freeze them', async () => {
    const without = group();
    const child = without.spawnInside(() => spawn('true'));
    await once(child, 'exit');
    await expect(without.freeze(new AbortController().signal)).rejects.toMatchObject({ reason: 'CGROUP_MISSING' });
  });
});
