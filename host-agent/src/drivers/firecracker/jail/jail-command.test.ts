import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { jailCommand, jailRoot, mountTable, type JailPlan } from './jail-command.js';

const plan: JailPlan = {
  name: '01hx-0123456789abcdef',
  user: { uid: 7, gid: 8 },
  unshare: '/usr/bin/unshare',
  jailer: "/opt/the jailer's/jailer",
  firecracker: '/opt/firecracker-1.17',
  firecrackerBytes: 3_000_000,
  base: '/state/instances/01hx/jail/root',
  mounts: '/state/instances/01hx/jail/mounts',
  files: [
    { name: 'run', source: '/state/instances/01hx/run', kind: 'folder', access: 'write' },
    { name: 'logs/console.log', source: '/state/instances/01hx/logs/console.log', kind: 'file', access: 'write' },
    { name: 'memory', source: '/state/a b\t#1\\memory', kind: 'file', access: 'read' },
  ],
  devices: [{ name: 'disk.raw', major: 230, minor: 16 }],
};
const ROOT = '/state/instances/01hx/jail/root/firecracker-1.17/01hx-0123456789abcdef/root';

describe('the command that makes a jail', () => {
  const { binary, arguments: words } = jailCommand(plan, ['--api-sock', 'run/api.sock']);
  const script = words.at(-1)!;

  it('is one process from the beginning to Firecracker', () => {
    expect(binary).toBe('/usr/bin/unshare');
    // Without --fork, which is no default.
    expect(words.slice(0, -1)).toEqual(['--mount', 'sh', '-ec']);
    expect(script.split('\n').at(-1)).toMatch(/^exec /);
    expect(script).not.toMatch(/--daemonize|--new-pid-ns/);
  });

  it('tells the jailer whom to jail, as whom and where, and Firecracker its own arguments', () => {
    expect(script.split('\n').at(-1)).toBe(
      `exec '/opt/the jailer'\\''s/jailer' '--id' '01hx-0123456789abcdef' '--exec-file' '/opt/firecracker-1.17'` +
        ` '--uid' '7' '--gid' '8' '--chroot-base-dir' '/state/instances/01hx/jail/root' '--' '--api-sock' 'run/api.sock'`,
    );
  });

  it('makes a file system with room for a copy of Firecracker, and places for all that is mounted', () => {
    const lines = script.split('\n');
    expect(lines[0]).toBe(
      `mount -n -t tmpfs -o mode=0755,nosuid,size=4048576,nr_inodes=64 offshoot-jail '${plan.base}'`,
    );
    expect(lines[1]).toBe(
      `mkdir -p '${ROOT}/run' '${ROOT}/logs' '${ROOT}/memory'`.replace(`'${ROOT}/memory'`, `'${ROOT}'`),
    );
    expect(lines.slice(2, 4)).toEqual([`: >'${ROOT}/logs/console.log'`, `: >'${ROOT}/memory'`]);
    expect(lines[4]).toBe(`mount -n -a -T '${plan.mounts}'`);
  });

  it("makes a device of its own where a disk is one, which is its user's", () => {
    expect(script).toContain(`mknod -m 600 '${ROOT}/disk.raw' b 230 16\nchown 7:8 '${ROOT}/disk.raw'\n`);
  });

  it('is one that a shell can read', () => {
    expect(execFileSync('sh', ['-nc', script]).toString()).toBe('');
  });
});

describe('what is mounted into a jail', () => {
  it('is each file by itself, read-only where it is only read, and nothing that could be run', () => {
    expect(mountTable(plan)).toBe(
      [
        `/state/instances/01hx/run ${ROOT}/run none bind,rw,nosuid,nodev,noexec 0 0\n`,
        `/state/instances/01hx/logs/console.log ${ROOT}/logs/console.log none bind,rw,nosuid,nodev,noexec 0 0\n`,
        `/state/a\\040b\\011\\0431\\134memory ${ROOT}/memory none bind,ro,nosuid,nodev,noexec 0 0\n`,
      ].join(''),
    );
  });

  it('is where the jailer makes its root', () => {
    expect(jailRoot(plan)).toBe(ROOT);
  });
});
