import { chmod, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import type { Capture } from '../../host-agent/src/domain/instance.js';
import { findProgram } from '../../host-agent/src/os/program-path.js';
import type {
  CaptureResult,
  HypervisorDriver,
  LaunchSpec,
  MachineSpec,
  RestoreSpec,
  Vm,
} from '../../host-agent/src/ports/driver.js';
import { buildBareGuest } from '../bare-guest/bare-guest.js';
import { recordOf, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays } from '../bare-guest/guest-control.js';
import type { Subject } from './subject.js';
import { SUBJECTS } from './subjects/all.js';

export const MIB = 1024 * 1024;

/** A VM that was booted, captured and ended: what forks are made from. */
export interface Base {
  readonly spec: MachineSpec;
  readonly result: CaptureResult;
  readonly capture: Capture;
}

/** A scratch folder with the bare guest, and folders of VMs in it. Disposing it ends every VM that was noted. */
export class ConformanceLab implements AsyncDisposable {
  private readonly vms: Vm[] = [];
  private readonly shared: HypervisorDriver;
  private count = 0;

  private constructor(
    readonly subject: Subject,
    readonly root: string,
    private readonly kernel: string,
  ) {
    this.shared = subject.driver({ scratch: root });
  }

  static async open(subject: Subject): Promise<ConformanceLab> {
    // A space: it may not mean anything to a hypervisor.
    const root = await realpath(await mkdtemp(join(tmpdir(), 'c, ')));
    return new ConformanceLab(subject, root, await buildBareGuest(root));
  }

  get driver(): HypervisorDriver {
    return this.shared;
  }

  /** As a daemon has it that was just started. */
  newDriver(binary?: string): HypervisorDriver {
    return this.subject.driver({ scratch: this.root, ...(binary === undefined ? {} : { binary }) });
  }

  /** A new instance folder with a blank disk. */
  async spec(name: string, memoryMib = 128): Promise<LaunchSpec> {
    const directory = join(this.root, `${name}${String(++this.count)}`);
    const { disk, nic } = this.subject;
    const spec: LaunchSpec = {
      directory,
      runDirectory: join(directory, 'run'),
      logDirectory: join(directory, 'logs'),
      vcpus: 1,
      memoryBytes: memoryMib * MIB,
      memoryFile: join(directory, 'memory'),
      disk: { path: join(directory, `disk.${disk.format}`), format: disk.format },
      nic: { mac: '52:54:00:12:34:56', backend: nic },
      kernel: { vmlinuz: this.kernel, vmlinux: this.kernel, commandLine: 'a,b "c"' },
    };
    await mkdir(spec.runDirectory, { recursive: true });
    await mkdir(spec.logDirectory);
    await disk.create(spec.disk.path);
    return spec;
  }

  /** A new instance folder for a fork. */
  async forkSpec(name: string, base: Base): Promise<RestoreSpec> {
    const { spec, result, capture } = base;
    return {
      ...(await this.spec(name, spec.memoryBytes / MIB)),
      memoryFile: result.memoryFile,
      capture,
      stateFile: result.stateFile,
    };
  }

  /** Booted, and armed. */
  async launch(name: string, memoryMib?: number): Promise<{ vm: Vm; spec: LaunchSpec }> {
    const spec = await this.spec(name, memoryMib);
    const vm = this.keep(await this.driver.launch(spec));
    await consoleSays(spec, 'armed\n');
    return { vm, spec };
  }

  /** Loaded, and paused. */
  async fork(name: string, base: Base): Promise<{ vm: Vm; spec: RestoreSpec }> {
    const spec = await this.forkSpec(name, base);
    const { vm } = await this.driver.restore(spec);
    return { vm: this.keep(vm), spec };
  }

  async base(name: string, memoryMib?: number): Promise<Base> {
    const { vm, spec } = await this.launch(name, memoryMib);
    const result = await vm.capture(targetIn(spec));
    await vm.kill();
    return this.baseOf(spec, result);
  }

  async baseOf(spec: MachineSpec, result: CaptureResult): Promise<Base> {
    const capture = await recordOf(result, this.driver.name);
    return { spec, result, capture };
  }

  /** A program that is the hypervisor when it is asked what it is, and otherwise this shell script. */
  async impostor(name: string, script: string): Promise<string> {
    const path = join(this.root, name);
    const real = await findProgram(this.subject.binary);
    const patterns = this.subject.probeArguments.map((words) => `*' ${words}'*`).join('|');
    const asked = `case " $*" in ${patterns}) exec '${real!}' "$@";; esac`;
    await writeFile(path, `#!/bin/sh\n${asked}\n${script}\n`);
    await chmod(path, 0o755);
    return path;
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

/** The same tests for every driver that can be tried here; the others are skipped, saying what is missing. */
export async function forEachDriver(what: string, tests: (lab: () => ConformanceLab) => void): Promise<void> {
  const tools = await missingTools();
  const missing = await Promise.all(SUBJECTS.map(async (subject) => tools || subject.missing()));
  for (const [index, subject] of SUBJECTS.entries()) {
    const why = missing[index] ?? '';
    describe.skipIf(why !== '')(`${subject.name}: ${what}${why && ` (skipped: ${why})`}`, () => {
      let lab: ConformanceLab;
      beforeAll(async () => {
        lab = await ConformanceLab.open(subject);
      });
      afterAll(() => lab[Symbol.asyncDispose]());
      tests(() => lab);
    });
  }
}

/** What the bare guest is made with. */
async function missingTools(): Promise<string> {
  const found = await Promise.all(['gcc', 'ld'].map(async (tool) => ((await findProgram(tool)) ? [] : [tool])));
  return found.flat().join(', ');
}
