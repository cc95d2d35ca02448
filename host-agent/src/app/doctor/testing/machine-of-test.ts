import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { vi } from 'vitest';
import { DRIVER_CAPABILITIES, NO_CAPABILITIES, type DriverName } from '../../../domain/driver-capabilities.js';
import * as sparse from '../../../os/sparse-copy.js';
import * as space from '../../../os/disk-space.js';
import { StatePaths, type CapturePaths } from '../../../paths.js';
import type { DriverStatus, HypervisorDriver } from '../../../ports/driver.js';
import type { DatasetAccess, HelperAccess } from '../../../ports/host-access.js';
import type { CheckResult, DoctorSubject } from '../check.js';
import { examine } from '../doctor.js';

/** Nobody has to have it. */
export const NO_FIRECRACKER: DriverStatus = {
  name: 'firecracker',
  available: false,
  unavailableReason: 'no jailer binary',
  version: '',
  accelerator: '',
  acceleratorReason: '',
  capabilities: NO_CAPABILITIES,
};

const never = new AbortController().signal;

/** A machine on which everything is well, as files; tests break one thing each. */
export class MachineOfTest implements AsyncDisposable {
  readonly root = mkdtempSync(join(tmpdir(), 'offshoot-doctor-'));
  readonly state = join(this.root, 'state');
  readonly rows: { id: string }[] = [];
  readonly ended: string[] = [];
  time = Date.UTC(2027);
  driver: Partial<DriverStatus> = {};
  firecracker = NO_FIRECRACKER;
  network: object = {
    mode: 'tap',
    modeReason: '',
    bridge: 'br0',
    subnet: '10.0.0.0/24',
    ackBindAddress: '10.0.0.1',
  };
  images: readonly object[];
  /** TAPs that are no instance's. */
  taps: string[] = [];
  /** In a pool, by name and whose they are. */
  disks: { name: string; owner: string }[] = [];
  snapshots: { id: string }[] = [];
  /** Whether operations are under way. */
  busy = false;
  private readonly api = createServer();
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
    this.write('proc/self/net/dev', 'Inter-|   Receive\n face |bytes\n    lo: 0 0\n   br0: 0 0\n');
    // 10.0.0.1:4000
    this.write('proc/self/net/udp', `  sl  local_address\n  7: 0100000A:0FA0 00000000:0000 07 0:0 00:0 0 0 0 4711 2\n`);
    mkdirSync(join(this.root, 'proc/self/fd'));
    symlinkSync('socket:[4711]', join(this.root, 'proc/self/fd/9'));
    this.write('dev/kvm', '');
    this.write('dev/net/tun', '');
    for (const file of ['agent.cjs', 'offshoot-guest']) this.write(`bundle/${file}`, 'code');
    this.write('image/vmlinuz', `${'\0'.repeat(0x202)}HdrS`);
    this.write('image/vmlinux', '\x7fELF');
    this.write('image/initrd', '070701');
    const part = (name: string): string => join(this.root, 'image', name);
    this.images = [
      {
        id: 'ab'.repeat(32),
        name: 'default',
        kernelRelease: '6.1',
        vmlinuz: part('vmlinuz'),
        vmlinux: part('vmlinux'),
        initrd: part('initrd'),
      },
    ];
    this.write('sys/fs/cgroup/cgroup.controllers', 'cpu memory\n');
    mkdirSync(join(this.state, 'instances'), { recursive: true });
    vi.stubEnv('PATH', join(this.root, 'bin'));
    for (const program of ['mkfs.ext4', 'e2fsck', 'debugfs', 'nft']) this.write(`bin/${program}`, '', 0o755);
    vi.spyOn(sparse, 'sparseCopy').mockResolvedValue({ reflinked: true, copiedBytes: 0 });
    vi.spyOn(space, 'freeBytes').mockResolvedValue(100 * 2 ** 30);
  }

  /** Begins to serve. */
  static async start(): Promise<MachineOfTest> {
    const machine = new MachineOfTest();
    machine.api.listen(machine.socket);
    await once(machine.api, 'listening');
    return machine;
  }

  get socket(): string {
    return join(this.root, 'api.sock');
  }

  write(path: string, text: string, mode = 0o644): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text, { mode });
  }

  remove(path: string): void {
    rmSync(join(this.root, path), { recursive: true, force: true });
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
      network: {
        status: this.network,
        strayTaps: () => [...this.taps],
        removeStrayTap: (name: string) => {
          this.taps = this.taps.filter((tap) => tap !== name);
        },
      },
      acks: { port: 4000 },
      agentBundle: join(this.root, 'bundle'),
      listening: () => `unix://${this.socket}`,
      disks: {
        elsewhere: () => Promise.resolve([...this.disks]),
        discard: (name: string) => {
          this.disks = this.disks.filter((disk) => disk.name !== name);
          return Promise.resolve();
        },
      },
      snapshots: { list: () => this.snapshots },
      snapshotFiles: {
        remove: (id: string) => rm(join(this.state, 'snapshots', id), { recursive: true }),
      },
      journal: { unfinished: () => (this.busy ? [{}] : []) },
      images: { list: () => Promise.resolve(this.images) },
      store: { list: () => this.rows, usedSlots: () => new Set() },
      files: {
        removeCapture: ({ root }: CapturePaths) => rm(root, { recursive: true }),
        sweep: (known: ReadonlySet<string>) => {
          for (const { folder } of this.folders.filter(({ id }) => !known.has(id))) rmSync(folder, { recursive: true });
          return Promise.resolve([]);
        },
      },
      orphans: {
        endProcessesOf: (folders: readonly string[]) => {
          this.ended.push(...folders);
          for (const { pid, folder } of this.processes) if (folders.includes(folder)) this.remove(`proc/${pid}`);
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

  async [Symbol.asyncDispose](): Promise<void> {
    this.api.close();
    await once(this.api, 'close');
    rmSync(this.root, { recursive: true, force: true });
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  }
}
