import { describe, expect, it } from 'vitest';
import type { LaunchSpec } from '../../ports/driver.js';
import { assertFits, launchArguments, restoreArguments } from './command-line.js';

const spec: LaunchSpec = {
  directory: '/state, a/i1',
  runDirectory: '/state, a/i1/run',
  logDirectory: '/state, a/i1/logs',
  vcpus: 2,
  memoryBytes: 512 * 1024 * 1024,
  memoryFile: '/state, a/i1/memory',
  disk: { path: '/state, a/i1/disk.raw', format: 'raw' },
  nic: { mac: '52:54:00:12:34:56', backend: { kind: 'tap', descriptor: 9 } },
  kernel: { vmlinuz: '/bzimage', vmlinux: '/images/vmlinuz', initrd: '/images, b/initrd', commandLine: '--a,b "c"' },
};

describe("Cloud Hypervisor's command line", () => {
  it('describes the machine in one way only, with everything in its own folder', () => {
    expect(launchArguments(spec, { api: 3, events: 4, tap: 5 })).toEqual([
      ...['--api-socket', 'fd=3', '--event-monitor', 'fd=4', '--no-shutdown'],
      ...['--cpus', 'boot=2', '--memory', 'size=0'],
      ...['--memory-zone', 'id=ram,size=512M,file=memory,shared=on'],
      ...['--disk', 'id=disk,path=disk.raw,image_type=raw'],
      ...['--net', 'id=net,fd=[5],mac=52:54:00:12:34:56'],
      ...['--vsock', 'id=vsock,cid=3,socket=run/vsock'],
      ...['--serial', 'socket=run/serial.sock', '--console', 'off', '--pvpanic'],
      ...['--kernel', 'run/kernel', '--initramfs=/images, b/initrd', '--cmdline=--a,b "c"'],
    ]);
  });

  it('has no card where there is none to be', () => {
    const without = { ...spec, nic: { mac: '', backend: { kind: 'none' } } } as const;
    expect(launchArguments(without, { api: 3, events: 4 })).not.toContain('--net');
  });

  it('gives the TAP anew to a VM that is loaded', () => {
    expect(restoreArguments(spec, { api: 3, events: 4, tap: 5 }).slice(-2)).toEqual([
      '--restore',
      'source_url=file://run/snapshot,resume=false,net_fds=[net@[5]]',
    ]);
    expect(restoreArguments(spec, { api: 3, events: 4 }).at(-1)).toBe('source_url=file://run/snapshot,resume=false');
  });

  it.each(['/elsewhere/disk.raw', '/state, a/i1/a,b.raw', '/state, a/i1/[b].raw', '/state, a/i1/"b".raw'])(
    'refuses a disk that would not be found or would mean something else: %s',
    (path) => {
      const wrong = { ...spec, disk: { path, format: 'raw' } } as const;
      expect(() => launchArguments(wrong, { api: 3, events: 4 })).toThrow(/must (lie in|be without)/);
    },
  );

  it('refuses a disk whose writes it would keep to itself', () => {
    expect(() => {
      assertFits({ ...spec, disk: { path: '/state, a/i1/disk.qcow2', format: 'qcow2' } });
    }).toThrow('has raw disks only, /state, a/i1/disk.qcow2 is qcow2');
  });

  it('refuses what it has no network for, naming the capability', () => {
    const user = { kind: 'user', subnet: '10.7.0.0/24', gateway: '10.7.0.1' } as const;
    expect(() => {
      assertFits({ ...spec, nic: { mac: '', backend: user } });
    }).toThrow(/userNetwork/);
    expect(() => {
      assertFits({ ...spec, memoryBytes: 512 * 1024 * 1024 + 4096 });
    }).toThrow(/whole number of MiB/);
  });
});
