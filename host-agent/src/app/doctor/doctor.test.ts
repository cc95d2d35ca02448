import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Unreachable, Unsupported } from '@offshoot/shared/errors.js';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DRIVER_CAPABILITIES, NO_CAPABILITIES, type DriverName } from '../../domain/driver-capabilities.js';
import { jailNameOf } from '../../os/jail-name.js';
import { SparseCopyUnsupported } from '../../os/sparse-copy.js';
import * as sparse from '../../os/sparse-copy.js';
import * as space from '../../os/disk-space.js';
import { StatePaths } from '../../paths.js';
import type { DriverStatus, HypervisorDriver } from '../../ports/driver.js';
import type { DatasetAccess, HelperAccess } from '../../ports/host-access.js';
import type { CheckResult, DoctorSubject } from './check.js';
import { CHECKS, examine } from './doctor.js';

const never = new AbortController().signal;

const NO_FIRECRACKER: DriverStatus = {
  name: 'firecracker',
  available: false,
  unavailableReason: 'no jailer binary',
  version: '',
  accelerator: '',
  acceleratorReason: '',
  capabilities: NO_CAPABILITIES,
};

/** A machine on which everything is well, as files; tests break one thing each. */
class Machine implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), 'offshoot-doctor-'));
  readonly state = join(this.root, 'state');
  readonly rows: { id: string }[] = [];
  readonly ended: string[] = [];
  time = Date.UTC(2027);
  driver: Partial<DriverStatus> = {};
  firecracker = NO_FIRECRACKER;
  network: object = { mode: 'tap', modeReason: '', bridge: 'br0', subnet: '10.0.0.0/24' };
  images: readonly object[] = [{ name: 'default', kernelRelease: '6.1' }];
  fix = false;
  zfs: DatasetAccess | undefined = { dataset: 'tank/offshoot', asRoot: true, probe: () => Promise.resolve() };
  helper: HelperAccess | undefined = {
    path: '/libexec/helper',
    probe: () => Promise.resolve({ version: '1', capabilities: ['zfs'] }),
    isRootsAlone: () => Promise.resolve(true),
  };

  constructor() {
    this.write('proc/sys/kernel/osrelease', '6.1.0-test\n');
    this.write('proc/sys/kernel/yama/ptrace_scope', '1\n');
    this.write('proc/self/status', 'Name:\tx\nCapEff:\t000001ffffffffff\n');
    this.write('proc/cpuinfo', 'processor: 0\nflags\t\t: fpu svm sse\n');
    this.write('etc/os-release', 'PRETTY_NAME="Test Linux"\n');
    this.write('dev/kvm', '');
    this.write('sys/fs/cgroup/cgroup.controllers', 'cpu memory\n');
    mkdirSync(join(this.state, 'instances'), { recursive: true });
    vi.stubEnv('PATH', join(this.root, 'bin'));
    for (const program of ['mkfs.ext4', 'e2fsck', 'debugfs']) this.write(`bin/${program}`, '', 0o755);
    vi.spyOn(sparse, 'sparseCopy').mockResolvedValue({ reflinked: true, copiedBytes: 0 });
    vi.spyOn(space, 'freeBytes').mockResolvedValue(100 * 2 ** 30);
  }

  write(path: string, text: string, mode = 0o644): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text, { mode });
  }

  remove(path: string): void {
    rmSync(join(this.root, path), { recursive: true });
  }

  /** A process that works in a folder. */
  run(pid: number, folder: string): void {
    mkdirSync(join(this.root, 'proc', String(pid)), { recursive: true });
    symlinkSync(folder, join(this.root, 'proc', String(pid), 'cwd'));
  }

  /** A process in a jail of that name. */
  runJailed(pid: number, jail: string): void {
    this.run(pid, '/');
    this.write(`proc/${String(pid)}/cmdline`, ['/firecracker', '--id', jail, '--api-sock', 'x', ''].join('\0'));
  }

  async examine(): Promise<ReadonlyMap<string, CheckResult>> {
    const found = new Map<string, CheckResult>();
    for await (const result of examine(this.subject(), never)) found.set(result.name, result);
    return found;
  }

  subject(): DoctorSubject {
    const status: DriverStatus = {
      name: 'qemu',
      available: true,
      unavailableReason: '',
      version: '7.2',
      accelerator: 'kvm',
      acceleratorReason: '',
      capabilities: DRIVER_CAPABILITIES.qemu,
      ...this.driver,
    };
    const driver = { name: 'qemu', probe: () => Promise.resolve(status) } as unknown as HypervisorDriver;
    return {
      root: this.root,
      now: () => this.time,
      fix: this.fix,
      zfs: this.zfs,
      helper: this.helper,
      paths: new StatePaths(this.state),
      drivers: new Map<DriverName, HypervisorDriver>([
        ['qemu', driver],
        ['firecracker', { probe: () => Promise.resolve(this.firecracker) } as unknown as HypervisorDriver],
      ]),
      defaultDriver: 'qemu',
      network: { status: this.network },
      images: { list: () => Promise.resolve(this.images) },
      store: { list: () => this.rows },
      files: {
        sweep: (known: ReadonlySet<string>) => {
          for (const { folder } of this.folders.filter(({ id }) => !known.has(id))) rmSync(folder, { recursive: true });
          return Promise.resolve([]);
        },
      },
      orphans: {
        endProcessesOf: (folder: string) => {
          this.ended.push(folder);
          for (const { pid } of this.processes.filter((each) => each.folder === folder)) this.remove(`proc/${pid}`);
          return Promise.resolve();
        },
      },
    } as unknown as DoctorSubject;
  }

  readonly folders: { id: string; folder: string }[] = [];
  readonly processes: { pid: string; folder: string }[] = [];

  /** What is left of an instance. */
  leave(id: string, what: { folder: boolean; pid?: number }): void {
    const folder = join(this.state, 'instances', id);
    if (what.folder) {
      mkdirSync(folder);
      this.folders.push({ id, folder });
    }
    if (what.pid === undefined) return;
    this.run(what.pid, folder);
    this.processes.push({ pid: String(what.pid), folder });
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  }
}

describe('the doctor', () => {
  let machine: Machine;
  beforeEach(() => {
    machine = new Machine();
  });
  afterEach(() => {
    machine[Symbol.dispose]();
  });

  it('finds nothing wrong where nothing is, in as many checks as there are', async () => {
    const found = await machine.examine();
    expect([...found.values()].filter(({ outcome }) => outcome !== 'pass')).toEqual([]);
    expect([...found.keys()]).toEqual(CHECKS.map(({ name }) => name));
  });

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
  it.each<[string, 'warn' | 'fail', RegExp, () => void]>([
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
        machine.write('proc/self/status', 'CapEff:\t0000000000000000\n');
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
      () => (machine.network = { mode: 'user', modeReason: 'no rights', bridge: '', subnet: '' }),
    ],
    ['images', 'warn', /there is none/, () => (machine.images = [])],
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
  ])('%s: %s when it is not so', async (name, outcome, detail, breakIt) => {
    breakIt();
    const found = await machine.examine();
    const result = found.get(name)!;
    expect(result).toMatchObject({ outcome, detail: expect.stringMatching(detail) as string });
    expect(result.remedy).not.toBe('');
    // And nothing else is blamed for it.
    const others = [...found.values()].filter((each) => each.outcome !== 'pass' && each.name !== name);
    expect(others).toEqual([]);
  });

  it('does not look at what is not configured', async () => {
    machine.zfs = machine.helper = undefined;
    const names = [...(await machine.examine()).keys()];
    expect(names).toEqual(
      CHECKS.map(({ name }) => name).filter((name) => !['zfs', 'privileged-helper'].includes(name)),
    );
  });

  it('fails a check that cannot be made, and goes on', async () => {
    machine.remove('proc/cpuinfo');
    const found = await machine.examine();
    expect(found.get('cpu-virtualization')).toMatchObject({
      outcome: 'fail',
      detail: expect.stringMatching(/ENOENT/) as string,
    });
    expect(found.size).toBe(CHECKS.length);
  });

  it('leaves alone what belongs to an instance, and removes what does not when asked to', async () => {
    machine.rows.push({ id: 'here' });
    machine.leave('here', { folder: true, pid: 76 });
    machine.leave('gone', { folder: true, pid: 77 });
    machine.fix = true;
    const found = await machine.examine();
    expect(found.get('leftovers')).toMatchObject({
      outcome: 'pass',
      detail: 'removed: folder of gone, process of gone',
    });
    expect(new Set(machine.ended)).toEqual(new Set([join(machine.state, 'instances', 'gone')]));
    machine.fix = false;
    expect((await machine.examine()).get('leftovers')).toMatchObject({ outcome: 'pass' });
  });

  it('ends when its caller goes away', async () => {
    const caller = new AbortController();
    const results = examine(machine.subject(), caller.signal);
    await results.next();
    caller.abort(new Error('gone'));
    await expect(results.next()).rejects.toThrow('gone');
  });
});
