import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import type { Capture } from '../../host-agent/src/domain/instance.js';
import { QemuDriver, type QemuDriverOptions } from '../../host-agent/src/drivers/qemu/qemu-driver.js';
import type { CaptureResult, LaunchSpec, RestoreSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { buildBareGuest } from '../bare-guest/bare-guest.js';

const run = promisify(execFile);
const MIB = 1024 * 1024;

/** What these tests need and this machine lacks; empty when nothing. */
export async function missingPrograms(): Promise<string> {
  const found = await Promise.all(
    ['qemu-system-x86_64', 'qemu-img', 'qemu-io', 'gcc', 'ld'].map(async (program) => {
      try {
        await run(program, ['--version']);
        return [];
      } catch {
        return [program];
      }
    }),
  );
  return found.flat().join(', ');
}

/** A scratch folder with the bare guest, and folders of VMs in it. Disposing it ends every VM that was noted. */
export class Lab implements AsyncDisposable {
  private readonly vms: Vm[] = [];

  private constructor(
    readonly root: string,
    private readonly kernel: string,
    private readonly blankDisk: string,
  ) {}

  static async open(): Promise<Lab> {
    // A comma and a space: neither may mean anything to QEMU.
    const root = await realpath(await mkdtemp(join(tmpdir(), 'q, ')));
    const blankDisk = join(root, 'blank.qcow2');
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', blankDisk, '64M']);
    return new Lab(root, await buildBareGuest(root), blankDisk);
  }

  driver(options: Partial<QemuDriverOptions> = {}): QemuDriver {
    return new QemuDriver({
      accelerator: process.env.OFFSHOOT_TEST_ACCELERATOR === 'kvm' ? 'kvm' : 'tcg',
      logger: pino({ level: 'silent' }),
      scratchDirectory: this.root,
      ...options,
    });
  }

  /** A new instance folder with a blank disk. */
  async spec(name: string, memoryMib = 128): Promise<LaunchSpec> {
    const directory = join(this.root, name);
    const spec: LaunchSpec = {
      directory,
      runDirectory: join(directory, 'run'),
      logDirectory: join(directory, 'logs'),
      vcpus: 1,
      memoryBytes: memoryMib * MIB,
      memoryFile: join(directory, 'memory'),
      disk: { path: join(directory, 'disk.qcow2'), format: 'qcow2' },
      nic: { mac: '52:54:00:12:34:56', backend: { kind: 'user', subnet: '10.7.0.0/24', gateway: '10.7.0.1' } },
      kernel: { vmlinuz: this.kernel, vmlinux: this.kernel, commandLine: 'a,b "c"' },
    };
    await mkdir(spec.runDirectory, { recursive: true });
    await mkdir(spec.logDirectory);
    await run('cp', [this.blankDisk, spec.disk.path]);
    return spec;
  }

  /** A new instance folder for a clone of what was captured. */
  async cloneSpec(name: string, base: LaunchSpec, capture: Capture, result: CaptureResult): Promise<RestoreSpec> {
    return {
      ...(await this.spec(name, base.memoryBytes / MIB)),
      memoryFile: result.memoryFile,
      capture,
      stateFile: result.stateFile,
    };
  }

  keep<T extends Vm>(vm: T): T {
    this.vms.push(vm);
    return vm;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const vm of this.vms) await vm.kill();
    await rm(this.root, { recursive: true, force: true });
  }
}
