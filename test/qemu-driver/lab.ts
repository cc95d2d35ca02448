import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, watch } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { pino } from 'pino';
import type { Capture } from '../../host-agent/src/domain/instance.js';
import { QemuDriver, type QemuDriverOptions } from '../../host-agent/src/drivers/qemu/qemu-driver.js';
import type { CaptureResult, GuestMemory, LaunchSpec, RestoreSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { FRAME_LAYOUT } from '../../shared/src/mailbox/frame-layout.js';
import { FRAME_ADDRESS, TICKS_ADDRESS, buildBareGuest } from '../bare-guest/bare-guest.js';

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
      accelerator: 'tcg',
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
      kernel: { vmlinuz: this.kernel, commandLine: 'a,b "c"' },
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

/** As the app records it. */
export async function recordOf(result: CaptureResult): Promise<Capture> {
  const { size, mtimeNs, ino } = await stat(result.memoryFile, { bigint: true });
  return {
    takenAt: new Date().toISOString(),
    stateFile: 'device-state',
    stateSha256: result.stateSha256,
    memoryFile: 'memory',
    memoryStamp: { size: Number(size), mtimeNs: String(mtimeNs), inode: String(ino) },
    regions: result.regions,
    driver: 'qemu',
    driverVersion: result.driverVersion,
    machineType: result.machineType,
    cpuModel: result.cpuModel,
    accelerator: result.accelerator,
    networkMode: 'user',
    registeredMailboxes: [],
    workloadLogOffset: 0,
  };
}

export const targetIn = (spec: { directory: string }): { stateFile: string; memoryFile: string } => ({
  stateFile: join(spec.directory, 'device-state'),
  memoryFile: join(spec.directory, 'memory.next'),
});

/** Renames as the app does with a private clone's new memory. */
export async function settled(result: CaptureResult, spec: { directory: string }): Promise<CaptureResult> {
  const memoryFile = join(spec.directory, 'memory');
  if (result.memoryFile !== memoryFile) await rename(result.memoryFile, memoryFile);
  return { ...result, memoryFile };
}

/** Waits until the console says `text`. */
export async function consoleSays(spec: { logDirectory: string }, text: string): Promise<void> {
  const path = join(spec.logDirectory, 'console.log');
  const limit = AbortSignal.timeout(20_000);
  const watcher = watch(spec.logDirectory, { signal: limit });
  try {
    for (;;) {
      const changed = once(watcher, 'change', { signal: limit });
      changed.catch(() => undefined);
      const said = await readFile(path, 'utf8').catch(() => '');
      if (said.includes(text)) return;
      try {
        await changed;
      } catch (error) {
        throw new Error(`the console never said ${JSON.stringify(text)}, only ${JSON.stringify(said)}`, {
          cause: error,
        });
      }
    }
  } finally {
    watcher.close();
  }
}

/** The payload into the bare guest's frame, generation last. */
export async function deliver(memory: GuestMemory, payload: string): Promise<void> {
  const bytes = Buffer.from(payload, 'utf8');
  const number = (value: number): Buffer => {
    const field = Buffer.alloc(4);
    field.writeUInt32LE(value);
    return field;
  };
  await memory.write(FRAME_ADDRESS + FRAME_LAYOUT.payload.offset, bytes);
  await memory.write(FRAME_ADDRESS + FRAME_LAYOUT.payloadLength.offset, number(bytes.length));
  await memory.write(FRAME_ADDRESS + FRAME_LAYOUT.generation.offset, number(1));
}

/** Delivers to a paused VM and lets it run. */
export async function deliverAndResume(vm: Vm, payload: string): Promise<void> {
  {
    await using memory = await vm.openMemory();
    await deliver(memory, payload);
  }
  await vm.resume();
}

/** How far the guest has counted, as it is in its memory. */
export async function ticksOf(vm: Vm): Promise<number> {
  await using memory = await vm.openMemory();
  return (await memory.read(TICKS_ADDRESS, 4)).readUInt32LE(0);
}

/** The same in a memory file. */
export async function ticksIn(memoryFile: string): Promise<number> {
  await using file = await open(memoryFile, 'r');
  const bytes = Buffer.alloc(4);
  await file.read(bytes, 0, 4, TICKS_ADDRESS);
  return bytes.readUInt32LE(0);
}

/** Waits until the guest has counted further than that; memory tells nobody that it changes. */
export async function ticksGoOn(vm: Vm, beyond: number): Promise<void> {
  const deadline = performance.now() + 20_000;
  while ((await ticksOf(vm)) <= beyond)
    if (performance.now() > deadline) throw new Error(`the guest does not count on from ${String(beyond)}`);
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: MIB }), hash);
  return hash.digest('hex');
}

/** How many descriptors this process has open. */
export const openDescriptors = async (): Promise<number> => (await readdir('/proc/self/fd')).length;

/** Processes that work in a folder. */
export async function processesIn(directory: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const cwd = await run('readlink', [`/proc/${pid}/cwd`]).catch(() => ({ stdout: '' }));
      return cwd.stdout.trim() === directory ? [pid] : [];
    }),
  );
  return found.flat();
}
