import { open, rm, stat } from 'node:fs/promises';
import { AlreadyExists, Corrupt, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import { DRIVER_CAPABILITIES, type DriverCapabilities } from '../../domain/driver-capabilities.js';
import type { Capture, VmmProcess } from '../../domain/instance.js';
import { identifyFile, type FileIdentity } from '../../os/file-mappings.js';
import { isAlive } from '../../os/process-identity.js';
import type {
  DriverStatus,
  HypervisorDriver,
  LaunchSpec,
  MachineSpec,
  RestoreSpec,
  RestoreTimings,
  Vm,
  VmExit,
} from '../../ports/driver.js';
import { checkMemory, checkSameMachine, checkState, type MachineIdentity } from '../capture-check.js';
import { hostCpuModel } from '../host-cpu-model.js';
import { KVM_DEVICE, UnusableVmm } from '../kvm-vmm-installation.js';
import { SharedLook } from '../shared-look.js';
import { withTimeLimit } from '../time-limit.js';
import { driverUnavailable, unavailable } from '../unavailable.js';
import { diedAtStart } from '../vmm-child.js';
import { vmmLog } from '../vmm-log.js';
import { VsockChannel } from '../vsock-channel.js';
import { CloudHypervisorApi } from './cloud-hypervisor-api.js';
import { startCloudHypervisor, withKernel, type CloudHypervisorProcess } from './cloud-hypervisor-process.js';
import { CloudHypervisorVm } from './cloud-hypervisor-vm.js';
import { assertFits, launchArguments, restoreArguments } from './command-line.js';
import { ConsoleLog, type GuestConsole } from './console-log.js';
import { inspectInstallation } from './installation.js';
import { configFor } from './snapshot-config.js';
import { unpack, writeSnapshot, type VmSnapshotFiles } from './snapshot-files.js';
import { probeSnapshots } from './snapshot-probe.js';
import { START_LIMIT } from './time-limits.js';
import { endWithGuest, exitOfAdopted, exitOfChild } from './vmm-exit.js';
import { filesOf, removeFiles } from './vmm-files.js';
import { VmmEvents } from './vmm-events.js';

export interface CloudHypervisorDriverOptions {
  /** Name on the PATH, or a path. */
  readonly binary?: string;
  /** The device it runs on; `/dev/kvm` when left out. */
  readonly kvm?: string;
  readonly logger: Logger;
  /** Where the answer of the snapshot probe is kept. */
  readonly scratchDirectory: string;
}

interface Usable {
  readonly binary: string;
  readonly machine: MachineIdentity;
  /** Why VMs cannot be captured; empty when they can. */
  readonly captureUnsupported: string;
}

interface Found {
  readonly status: DriverStatus;
  readonly usable?: Usable;
}

/** What is left where VMs cannot be captured. */
const WITHOUT_CAPTURES: Partial<DriverCapabilities> = {
  snapshot: false,
  fork: false,
  forkRunning: false,
  mailbox: false,
  memoryCow: false,
  diffSnapshot: false,
};

/** Cloud Hypervisor, on KVM: RAM in one file, its own snapshots of everything else, clones by private mappings of that file. */
export class CloudHypervisorDriver implements HypervisorDriver {
  readonly name = 'cloud-hypervisor';
  /** Not all versions we drive write the tables of a qcow2 disk through in a pause: a copy made then would lack some. */
  readonly diskFormats = ['raw'] as const;
  readonly tapKind = 'tap';
  private readonly found = new SharedLook((signal) => this.look(signal));

  constructor(private readonly options: CloudHypervisorDriverOptions) {}

  async probe(signal?: AbortSignal): Promise<DriverStatus> {
    return (await this.found.get(signal)).status;
  }

  async launch(spec: LaunchSpec, signal?: AbortSignal): Promise<Vm> {
    const usable = await this.usable(signal);
    assertFits(spec);
    const memory = await createMemoryFile(spec.memoryFile, spec.memoryBytes);
    try {
      const vmm = await withTimeLimit(START_LIMIT, signal, (limited) =>
        withKernel(spec, spec.kernel.vmlinux, () =>
          startCloudHypervisor(
            {
              binary: usable.binary,
              spec,
              arguments: (inherited) => launchArguments(spec, inherited),
              ready: 'vm booted',
            },
            limited,
          ),
        ),
      );
      return this.vmOf(vmm, spec, memory, false, usable);
    } catch (error) {
      await rm(spec.memoryFile, { force: true });
      throw error;
    }
  }

  async restore(spec: RestoreSpec, signal?: AbortSignal): Promise<{ vm: Vm; timings: RestoreTimings }> {
    const usable = await this.usable(signal);
    assertFits(spec);
    checkSameMachine('Cloud Hypervisor', spec.capture, usable.machine);
    const memory = await checkMemory(spec);
    const { config, state } = await readState(spec.stateFile, spec.capture);
    const { snapshot } = filesOf(spec);
    return withTimeLimit(START_LIMIT, signal, async (limited) => {
      const started = performance.now();
      try {
        await writeSnapshot(snapshot, { config: configFor(spec, config), state });
        const vmm = await startCloudHypervisor(
          {
            binary: usable.binary,
            spec,
            arguments: (inherited) => restoreArguments(spec, inherited),
            ready: 'vm restored',
            refused: notLoaded,
          },
          limited,
        );
        const loaded = performance.now();
        const timings = { spawnMs: vmm.startedAt - started, loadMs: loaded - vmm.startedAt };
        return { vm: this.vmOf(vmm, spec, memory, true, usable), timings };
      } finally {
        await rm(snapshot, { recursive: true, force: true });
      }
    });
  }

  async assertLoadable(capture: Capture, stateFile: string, signal?: AbortSignal): Promise<void> {
    const { machine } = await this.usable(signal);
    checkSameMachine('Cloud Hypervisor', capture, machine);
    await readState(stateFile, capture);
  }

  async adopt(process: VmmProcess, spec: Omit<MachineSpec, 'nic'>, signal?: AbortSignal): Promise<Vm | undefined> {
    if (isAlive(process)) {
      try {
        return await withTimeLimit(START_LIMIT, signal, (limited) => this.adopted(process, spec, limited));
      } catch (error) {
        if (isAlive(process)) throw error;
      }
    }
    // Gone, or it ended while it was being looked at.
    removeFiles(spec);
    return undefined;
  }

  private async adopted(process: VmmProcess, spec: Omit<MachineSpec, 'nic'>, signal: AbortSignal): Promise<Vm> {
    const files = filesOf(spec);
    const api = new CloudHypervisorApi(spec);
    let events: VmmEvents | undefined;
    let console: GuestConsole | undefined;
    try {
      // From itself: it may be older than the Cloud Hypervisor now installed.
      const machine = await machineOf(await api.version(signal));
      const isRunning = await api.isRunning(signal);
      const memory = await identifyFile(spec.memoryFile);
      const logStart = (await stat(vmmLog(spec))).size;
      // What a daemon left that ended in the middle of a start or a capture.
      for (const path of [files.kernel, files.snapshot]) await rm(path, { recursive: true, force: true });
      const { usable } = await this.found.get(signal);
      console = await ConsoleLog.of(files.serial, spec, signal);
      events = VmmEvents.of(files.events);
      const signs = { identity: process, events, console };
      const exited = exitOfAdopted(signs, vmmLog(spec), logStart);
      endWithGuest(signs, api);
      this.options.logger.debug({ pid: process.pid }, 'VMM adopted');
      return new CloudHypervisorVm({
        process,
        exited,
        api,
        spec,
        machine,
        memory,
        captureUnsupported: usable?.captureUnsupported ?? '',
        channel: new VsockChannel(files.vsock, { isHeld: !isRunning }),
        release: () => {
          signs.events.close();
          signs.console.close();
        },
      });
    } catch (error) {
      events?.close();
      console?.close();
      await api.close();
      throw error;
    }
  }

  private vmOf(
    { child, api, events, console }: CloudHypervisorProcess,
    spec: MachineSpec,
    memory: FileIdentity,
    privateMemory: boolean,
    { machine, captureUnsupported }: Usable,
  ): Vm {
    const process = { ...child.identity, privateMemory };
    const signs = { identity: process, events, console };
    const exited = exitOfChild(child.exited, signs);
    endWithGuest(signs, api);
    this.options.logger.debug({ pid: process.pid, directory: spec.directory, privateMemory }, 'VMM started');
    const release = (): void => {
      child.release();
      events.close();
      console.close();
    };
    // One restored stands until it is resumed.
    const channel = new VsockChannel(filesOf(spec).vsock, { isHeld: privateMemory });
    return new CloudHypervisorVm({
      process,
      exited,
      api,
      spec,
      machine,
      memory,
      captureUnsupported,
      channel,
      release,
    });
  }

  private async usable(signal?: AbortSignal): Promise<Usable> {
    const { usable, status } = await this.found.get(signal);
    if (usable !== undefined) return usable;
    throw driverUnavailable(status);
  }

  private async look(signal?: AbortSignal): Promise<Found> {
    const { binary: program = 'cloud-hypervisor', kvm = KVM_DEVICE, scratchDirectory, logger } = this.options;
    try {
      const { binary, version } = await inspectInstallation(program, kvm, signal);
      const captureUnsupported = await whyNoCaptures({ binary, version, scratchDirectory }, signal);
      if (captureUnsupported !== '') logger.warn({ reason: captureUnsupported }, 'VMs cannot be captured');
      const machine = await machineOf(version);
      const all = DRIVER_CAPABILITIES[this.name];
      const status: DriverStatus = {
        name: this.name,
        available: true,
        unavailableReason: '',
        version,
        accelerator: machine.accelerator,
        acceleratorReason: '',
        capabilities: captureUnsupported === '' ? all : { ...all, ...WITHOUT_CAPTURES },
        ...(captureUnsupported === '' ? {} : { capabilityReason: captureUnsupported }),
      };
      return { status, usable: { binary, machine, captureUnsupported } };
    } catch (error) {
      if (!(error instanceof UnusableVmm)) throw error;
      return { status: unavailable(this.name, error.message, error.version) };
    }
  }
}

async function whyNoCaptures(options: Parameters<typeof probeSnapshots>[0], signal?: AbortSignal): Promise<string> {
  try {
    return await probeSnapshots(options, signal);
  } catch (error) {
    signal?.throwIfAborted();
    return `the snapshot probe could not be made: ${messageOf(error)}`;
  }
}

/** Its devices are on PCI and nothing but the version says which, and the guest sees the host's processor. */
async function machineOf(version: string): Promise<MachineIdentity> {
  return {
    driver: 'cloud-hypervisor',
    version,
    machineType: 'cloud-hypervisor-pci',
    cpuModel: await hostCpuModel(),
    accelerator: 'kvm',
  };
}

/** RAM of a new VM: zeros, all holes. A file that was there could hold another guest's mailboxes. */
async function createMemoryFile(path: string, bytes: number): Promise<FileIdentity> {
  try {
    await using file = await open(path, 'wx', 0o600);
    await file.truncate(bytes);
    return await identifyFile(path);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    throw new AlreadyExists(`memory file ${path} exists`, { reason: 'MEMORY_FILE_EXISTS', cause: error });
  }
}

async function readState(path: string, { stateSha256 }: Capture): Promise<VmSnapshotFiles> {
  await using file = await open(path, 'r');
  await checkState(file, path, stateSha256);
  return unpack(await file.readFile('utf8'), path);
}

/** A VMM that cannot load ends by itself, after it has said why. */
function notLoaded(exit: VmExit): Error {
  if (exit.signal !== null) return diedAtStart('Cloud Hypervisor', exit, undefined);
  return new Corrupt(`Cloud Hypervisor could not load the capture: ${exit.logTail}`, {
    reason: 'STATE_NOT_LOADED',
    metadata: { logTail: exit.logTail },
  });
}
