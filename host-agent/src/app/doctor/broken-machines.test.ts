import { rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Unreachable, Unsupported } from '@offshoot/shared/errors.js';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NO_CAPABILITIES } from '../../domain/driver-capabilities.js';
import { jailNameOf } from '../../os/jail-name.js';
import { SparseCopyUnsupported } from '../../os/sparse-copy.js';
import * as sparse from '../../os/sparse-copy.js';
import * as space from '../../os/disk-space.js';
import { CHECKS } from './doctor.js';
import { MachineOfTest, NO_FIRECRACKER } from './testing/machine-of-test.js';

describe('a machine that is broken', () => {
  let machine: MachineOfTest;
  beforeEach(async () => {
    machine = await MachineOfTest.start();
  });
  afterEach(() => machine[Symbol.asyncDispose]());

  const unreadable = (path: string): void => {
    rmSync(join(machine.root, path));
    symlinkSync('/nonexistent/kvm', join(machine.root, path));
  };
  const noDataset = (error: Error): void => {
    machine.zfs = { dataset: 'tank/offshoot', asRoot: true, probe: () => Promise.reject(error) };
  };
  const noHelper = (error: Error): void => {
    machine.helper = { ...machine.helper!, probe: () => Promise.reject(error) };
  };
  /** What breaks which check, how badly, and what is then said. */
  const BROKEN: [string, 'warn' | 'fail', RegExp, () => void][] = [
    [
      'kernel',
      'fail',
      /^Linux 4\.19.*Test Linux$/,
      () => {
        machine.write('proc/sys/kernel/osrelease', '4.19.0\n');
      },
    ],
    [
      'cpu-virtualization',
      'warn',
      /offers no virtualization/,
      () => {
        machine.write('proc/cpuinfo', 'flags : fpu\n');
      },
    ],
    [
      'kvm',
      'warn',
      /no \/dev\/kvm/,
      () => {
        unreadable('dev/kvm');
      },
    ],
    [
      'cgroup',
      'warn',
      /version 2 are not mounted/,
      () => {
        machine.remove('sys/fs/cgroup/cgroup.controllers');
      },
    ],
    [
      'ptrace',
      'fail',
      /ptrace_scope is 1/,
      () => {
        machine.write('proc/self/status', 'CapEff:\t0000000000001000\n');
      },
    ],
    ['clock', 'fail', /1970-01-01/, () => (machine.time = 0)],
    [
      'e2fsprogs',
      'fail',
      /^debugfs not found/,
      () => {
        machine.remove('bin/debugfs');
      },
    ],
    [
      'state-directory',
      'warn',
      /without reflinks/,
      () => vi.mocked(sparse.sparseCopy).mockResolvedValue({ reflinked: false, copiedBytes: 1 }),
    ],
    [
      'state-directory',
      'fail',
      /sparse-capable/,
      () =>
        vi
          .mocked(sparse.sparseCopy)
          .mockRejectedValue(
            Object.assign(Object.create(SparseCopyUnsupported.prototype), { message: 'sparse-capable' }),
          ),
    ],
    ['disk-space', 'warn', /^5\.0 GiB/, () => vi.mocked(space.freeBytes).mockResolvedValue(5 * 2 ** 30)],
    ['disk-space', 'fail', /^0\.5 GiB/, () => vi.mocked(space.freeBytes).mockResolvedValue(2 ** 29)],
    [
      'zfs',
      'fail',
      /zfs is not installed/,
      () => {
        noDataset(new Unsupported('zfs is not installed', { reason: 'PROGRAM_MISSING' }));
      },
    ],
    [
      'zfs',
      'fail',
      /^storage\.zfs_dataset is tank\/offshoot, which ZFS does not have/,
      () => {
        const message = 'storage.zfs_dataset is tank/offshoot, which ZFS does not have here';
        noDataset(new Unsupported(message, { reason: 'ZFS_DATASET_MISSING' }));
      },
    ],
    [
      'zfs',
      'warn',
      /not root and has no helper/,
      () => (machine.zfs = { dataset: 'tank/offshoot', asRoot: false, probe: () => Promise.resolve() }),
    ],
    [
      'privileged-helper',
      'fail',
      /a password is required/,
      () => {
        noHelper(new Unreachable('sudo: a password is required', { reason: 'HELPER_UNREACHABLE' }));
      },
    ],
    [
      'privileged-helper',
      'fail',
      /of version/,
      () => {
        noHelper(new Unsupported('it is of version "0"', { reason: 'HELPER_VERSION' }));
      },
    ],
    [
      'privileged-helper',
      'warn',
      /others than root may change it/,
      () => {
        machine.helper = { ...machine.helper!, isRootsAlone: () => Promise.resolve(false) };
      },
    ],
    [
      'driver-qemu',
      'fail',
      /not installed/,
      () => (machine.driver = { available: false, unavailableReason: 'not installed', capabilities: NO_CAPABILITIES }),
    ],
    [
      'driver-qemu',
      'warn',
      /tcg: no KVM/,
      () => (machine.driver = { accelerator: 'tcg', acceleratorReason: 'no KVM' }),
    ],
    [
      'network',
      'warn',
      /no rights/,
      () => (machine.network = { ...machine.network, mode: 'user', modeReason: 'no rights', bridge: '' }),
    ],
    [
      'network',
      'fail',
      /^the bridge br0 is gone/,
      () => {
        machine.write('proc/self/net/dev', 'lo: 0\n');
      },
    ],
    [
      'network-rights',
      'fail',
      /^\/dev\/net\/tun cannot be opened: the next instance/,
      () => {
        machine.remove('dev/net/tun');
      },
    ],
    [
      'network-rights',
      'fail',
      /^there is no CAP_NET_ADMIN/,
      () => {
        machine.helper = undefined;
        machine.write('proc/self/status', 'CapEff:\t0000000000080000\n');
      },
    ],
    [
      'network-rights',
      'fail',
      /^the privileged helper sets up no network: the daemon cannot take/,
      () => {
        machine.write('proc/self/status', 'CapEff:\t0000000000080000\n');
      },
    ],
    [
      'network-rights',
      'fail',
      /^nft is not installed/,
      () => {
        machine.remove('bin/nft');
      },
    ],
    [
      'ports',
      'fail',
      /^new clients cannot connect to unix:.*ENOENT/,
      () => {
        machine.remove('api.sock');
      },
    ],
    [
      'ports',
      'fail',
      /^new clients cannot connect to unix:.*ECONNREFUSED/,
      () => {
        machine.remove('api.sock');
        machine.write('api.sock', '');
      },
    ],
    [
      'ports',
      'fail',
      /^the daemon has no UDP 10\.0\.0\.1:4000/,
      () => {
        machine.write('proc/self/net/udp', 'sl\n 7: 0100007F:0FA0 00000000:0000 07 0:0 00:0 0 0 0 4711 2\n');
      },
    ],
    [
      'ports',
      'fail',
      /^the daemon has no UDP/, // somebody else has
      () => {
        machine.remove('proc/self/fd/9');
      },
    ],
    [
      'guest-agent',
      'fail',
      /agent\.cjs is missing/,
      () => {
        machine.remove('bundle');
      },
    ],
    [
      'guest-agent',
      'fail',
      /offshoot-guest is empty/,
      () => {
        machine.write('bundle/offshoot-guest', '');
      },
    ],
    [
      'kernel-image',
      'fail',
      /^vmlinuz of the image default \(abababababab\)/,
      () => {
        machine.write('image/vmlinuz', 'MZ');
      },
    ],
    [
      'kernel-image',
      'fail',
      /^vmlinux of/,
      () => {
        machine.write('image/vmlinux', '');
      },
    ],
    [
      'kernel-image',
      'fail',
      /^initrd of/,
      () => {
        machine.write('image/initrd', '#!/bin/sh');
      },
    ],
    ['images', 'warn', /there is none/, () => (machine.images = [])],
    [
      'leftovers',
      'fail',
      /^folder of the snapshot gone$/,
      () => {
        machine.write('state/snapshots/gone/memory', '');
      },
    ],
    [
      'leftovers',
      'fail',
      /^capture gone$/,
      () => {
        machine.write('state/captures/gone/memory', '');
      },
    ],
    [
      'leftovers',
      'fail',
      /^disk p\/instances\/gone$/,
      () => (machine.disks = [{ name: 'p/instances/gone', owner: 'gone' }]),
    ],
    ['leftovers', 'fail', /^TAP oft-1$/, () => (machine.taps = ['oft-1'])],
    [
      'leftovers',
      'fail',
      /^folder of gone$/,
      () => {
        machine.leave('gone', { folder: true });
      },
    ],
    [
      'leftovers',
      'fail',
      /^process of gone$/,
      () => {
        machine.leave('gone', { folder: false, pid: 77 });
      },
    ],
    [
      'leftovers',
      'fail',
      /^process of gone$/,
      () => {
        machine.runJailed(77, jailNameOf(join(machine.state, 'instances', 'gone')));
        machine.runJailed(78, jailNameOf('/another/state/instances/gone'));
      },
    ],
    ['driver-firecracker', 'fail', /no jailer/, () => (machine.firecracker = { ...NO_FIRECRACKER, remedy: 'get one' })],
  ];

  it('is made for each check, but for hypervisors that nobody has to have', () => {
    const broken = new Set(BROKEN.map(([name]) => name));
    const unbroken = CHECKS.map(({ name }) => name).filter((name) => !broken.has(name));
    expect(unbroken.filter((name) => !name.startsWith('driver-'))).toEqual([]);
    expect(broken).toContain('driver-qemu');
  });

  it.each(BROKEN)('%s: %s when it is not so', async (name, outcome, detail, breakIt) => {
    breakIt();
    const found = await machine.examine();
    const result = found.get(name)!;
    expect(result).toMatchObject({ outcome, detail: expect.stringMatching(detail) as string });
    expect(result.remedy).not.toBe('');
    // And nothing else is blamed for it.
    const others = [...found.values()].filter((each) => each.outcome !== 'pass' && each.name !== name);
    expect(others).toEqual([]);
  });
});
