import { describe, expect, it } from 'vitest';
import type { LaunchSpec, RestoreSpec } from '../../ports/driver.js';
import { assertFits, bootRequests, loadRequests, seenFrom } from './machine-requests.js';

const spec: LaunchSpec = {
  directory: '/state/instances/i',
  runDirectory: '/state/instances/i/run',
  logDirectory: '/state/instances/i/logs',
  vcpus: 2,
  memoryBytes: 512 * 1024 * 1024,
  memoryFile: '/state/instances/i/memory',
  disk: { path: '/state/instances/i/disk.raw', format: 'raw' },
  nic: { mac: '52:54:00:00:00:01', backend: { kind: 'named-tap', name: 'tap7' } },
  kernel: { vmlinuz: '/bzimage', vmlinux: '/images/vmlinux', initrd: '/images/initrd', commandLine: 'console=ttyS0' },
};
const bodies = (requests: readonly { path: string; body?: unknown }[]): Record<string, unknown> =>
  Object.fromEntries(requests.map(({ path, body }) => [path, body]));

describe('requests to Firecracker', () => {
  it('name everything of the instance from its folder, so that a fork finds its own by the same names', () => {
    const told = bodies(bootRequests(spec));
    expect(told['/drives/disk']).toMatchObject({ path_on_host: 'disk.raw', is_root_device: false });
    expect(told['/vsock']).toEqual({ guest_cid: 3, uds_path: 'run/vsock' });
    expect(told['/serial']).toMatchObject({ serial_out_path: 'logs/console.log' });
    expect(told['/network-interfaces/net']).toEqual({
      iface_id: 'net',
      host_dev_name: 'tap7',
      guest_mac: '52:54:00:00:00:01',
    });
    expect(JSON.stringify(told)).not.toContain(spec.directory);
  });

  it('bound what a guest can write to the console, in every VMM', () => {
    const load = loadRequests({ ...spec, capture: {} as RestoreSpec['capture'], stateFile: '/state/s' });
    for (const requests of [bootRequests(spec), load])
      expect(bodies(requests)['/serial']).toMatchObject({ rate_limiter: { one_time_burst: 16 * 1024 * 1024 } });
  });

  it('load a capture paused, with its own card and vsock, and log dirty pages from then on', () => {
    const load = bodies(loadRequests({ ...spec, capture: {} as RestoreSpec['capture'], stateFile: '/state/s' }));
    expect(load['/snapshot/load']).toEqual({
      snapshot_path: '/state/s',
      mem_backend: { backend_type: 'File', backend_path: spec.memoryFile },
      track_dirty_pages: true,
      resume_vm: false,
      network_overrides: [{ iface_id: 'net', host_dev_name: 'tap7' }],
      vsock_override: { uds_path: 'run/vsock' },
    });
  });

  it('leave out the card of a VM that has none', () => {
    const alone: LaunchSpec = { ...spec, nic: { ...spec.nic, backend: { kind: 'none' } } };
    expect(bodies(bootRequests(alone))).not.toHaveProperty('/network-interfaces/net');
  });

  it('end with the start', () => {
    expect(bootRequests(spec).at(-1)).toEqual({
      method: 'PUT',
      path: '/actions',
      body: { action_type: 'InstanceStart' },
    });
  });

  it('are not made for what does not lie in the folder, or is no whole MiB', () => {
    expect(() => seenFrom(spec, '/state/instances/j/disk.raw')).toThrow(/must lie in the instance's folder/);
    expect(() => seenFrom(spec, spec.directory)).toThrow(/must lie in/);
    expect(() => {
      assertFits({ ...spec, memoryBytes: 1024 * 1024 + 1 });
    }).toThrow(/whole number of MiB/);
  });
});
