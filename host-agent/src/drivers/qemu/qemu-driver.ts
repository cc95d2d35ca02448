import { open, rm } from 'node:fs/promises';
import { AlreadyExists, Unsupported, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import { DRIVER_CAPABILITIES, NO_CAPABILITIES } from '../../domain/driver-capabilities.js';
import type { Capture, VmmProcess } from '../../domain/instance.js';
import { identifyFile, type FileIdentity } from '../../os/file-mappings.js';
import { isAlive, killProcess } from '../../os/process-identity.js';
import type {
  DriverStatus,
  HypervisorDriver,
  LaunchSpec,
  MachineSpec,
  RestoreSpec,
  RestoreTimings,
  Vm,
} from '../../ports/driver.js';
import { checkMemory, checkSameMachine, checkState } from '../capture-check.js';
import { SharedLook } from '../shared-look.js';
import { withTimeLimit } from '../time-limit.js';
import { driverUnavailable, unavailable } from '../unavailable.js';
import { vmmLog } from '../vmm-log.js';
import { exitOfAdopted } from './adopted-exit.js';
import { INCOMING_ARGUMENTS, kernelArguments, machineArguments } from './command-line.js';
import { cpuModelFor } from './cpu-model.js';
import { dropLooseLayers } from './disk-layer.js';
import { removeTraces, settleHandOver } from './hand-over.js';
import { inspectInstallation, type Accelerator, type MachineFacts, type QemuInstallation } from './installation.js';
import { probeKvm } from './kvm-probe.js';
import { loadState } from './load-state.js';
import { startQemu, type QemuProcess } from './qemu-process.js';
import { QemuVm, type QemuVmParts } from './qemu-vm.js';
import { QmpClient } from './qmp-client.js';
import type { OnRebaseStep } from './rebase.js';
import { factsOf } from './running-machine.js';
import { START_LIMIT } from './time-limits.js';
import { socketsOf } from './vmm-sockets.js';

export interface QemuDriverOptions {
  /** Name on the PATH, or a path. */
  readonly binary?: string;
  readonly accelerator: 'auto' | Accelerator;
  readonly logger: Logger;
  /** Where the answer of the KVM probe is kept. */
  readonly scratchDirectory: string;
  /** Told each step of a hand-over to a new VMM before it is taken, to make it fail or cut it short in tests. */
  readonly onRebaseStep?: OnRebaseStep;
}

interface Found {
  readonly status: DriverStatus;
  readonly usable?: { readonly installation: QemuInstallation; readonly facts: MachineFacts };
}

/** QEMU: RAM in one file, device state by `xen-save-devices-state`, clones by private mappings of that file. */
export class QemuDriver implements HypervisorDriver {
  readonly name = 'qemu';
  readonly diskFormats = ['qcow2', 'raw'] as const;
  readonly tapKind = 'tap';
  private readonly binary: string;
  private readonly found = new SharedLook((signal) => this.look(signal));

  constructor(private readonly options: QemuDriverOptions) {
    this.binary = options.binary ?? 'qemu-system-x86_64';
  }

  async probe(signal?: AbortSignal): Promise<DriverStatus> {
    return (await this.found.get(signal)).status;
  }

  async launch(spec: LaunchSpec, signal?: AbortSignal): Promise<Vm> {
    const { installation, facts } = await this.usable(signal);
    const memory = await createMemoryFile(spec.memoryFile, spec.memoryBytes);
    try {
      const vmm = await withTimeLimit(START_LIMIT, signal, (limited) =>
        startQemu(
          {
            binary: installation.binary,
            spec,
            ...tapOf(spec),
            arguments: (inherited) => [
              ...machineArguments(facts, spec, inherited, { share: true }),
              ...kernelArguments(spec),
            ],
          },
          limited,
        ),
      );
      return this.vmOf(vmm, spec, memory, false, { facts, installation });
    } catch (error) {
      await rm(spec.memoryFile, { force: true });
      throw error;
    }
  }

  async restore(spec: RestoreSpec, signal?: AbortSignal): Promise<{ vm: Vm; timings: RestoreTimings }> {
    const { installation, facts } = await this.usable(signal);
    checkSameMachine('QEMU', spec.capture, { driver: this.name, ...facts });
    const memory = await checkMemory(spec);
    await using state = await open(spec.stateFile, 'r');
    await checkState(state, spec.stateFile, spec.capture.stateSha256);
    return await withTimeLimit(START_LIMIT, signal, async (limited) => {
      const started = performance.now();
      let stateNumber = -1;
      const vmm = await startQemu(
        {
          binary: installation.binary,
          spec,
          ...tapOf(spec),
          stateDescriptor: state.fd,
          arguments: (inherited) => {
            stateNumber = inherited.state;
            return [...machineArguments(facts, spec, inherited, { share: false }), ...INCOMING_ARGUMENTS];
          },
        },
        limited,
      );
      const spawned = performance.now();
      try {
        await loadState(vmm, stateNumber, { lateBlockActivate: false }, limited);
        const loaded = performance.now();
        const vm = this.vmOf(vmm, spec, memory, true, { facts, installation });
        return { vm, timings: { spawnMs: spawned - started, loadMs: loaded - spawned } };
      } catch (error) {
        await end(vmm, spec);
        throw error;
      }
    });
  }

  async assertLoadable(capture: Capture, stateFile: string, signal?: AbortSignal): Promise<void> {
    const { facts } = await this.usable(signal);
    checkSameMachine('QEMU', capture, { driver: this.name, ...facts });
    await using state = await open(stateFile, 'r');
    await checkState(state, stateFile, capture.stateSha256);
  }

  async adopt(recorded: VmmProcess, spec: Omit<MachineSpec, 'nic'>, signal?: AbortSignal): Promise<Vm | undefined> {
    const process = await settleHandOver(recorded, spec);
    if (!isAlive(process)) {
      removeTraces(spec);
      return undefined;
    }
    const { usable } = await this.found.get(signal);
    return withTimeLimit(START_LIMIT, signal, async (limited) => {
      let qmp: QmpClient;
      try {
        qmp = await QmpClient.connect(socketsOf(spec).qmp, limited);
      } catch (error) {
        if (isAlive(process)) throw error;
        removeTraces(spec);
        return undefined; // it ended while it was being looked at
      }
      try {
        const facts = await factsOf(process, qmp, limited);
        await dropLooseLayers(qmp, limited);
        const exited = exitOfAdopted(process, qmp, vmmLog(spec));
        const memory = await identifyFile(spec.memoryFile);
        this.options.logger.debug({ pid: process.pid }, 'VMM adopted');
        const release = (): void => undefined; // no child of ours
        return new QemuVm({ process, exited, qmp, spec, facts, memory, release, ...this.partsFor(usable) });
      } catch (error) {
        qmp.close();
        throw error;
      }
    });
  }

  private vmOf(
    vmm: QemuProcess,
    spec: MachineSpec,
    memory: FileIdentity,
    privateMemory: boolean,
    usable: NonNullable<Found['usable']>,
  ): Vm {
    const process = { ...vmm.identity, privateMemory };
    this.options.logger.debug({ pid: process.pid, directory: spec.directory, privateMemory }, 'VMM started');
    return new QemuVm({
      process,
      exited: vmm.exited,
      qmp: vmm.qmp,
      spec,
      facts: usable.facts,
      memory,
      release: () => {
        vmm.release();
      },
      ...this.partsFor(usable),
    });
  }

  /** What a VM needs to know of the QEMU that is installed now. */
  private partsFor(
    usable: Found['usable'],
  ): Pick<QemuVmParts, 'captureUnsupported' | 'installed' | 'onRebaseStep' | 'logger'> {
    const { onRebaseStep, logger } = this.options;
    return {
      logger,
      captureUnsupported: usable?.installation.captureUnsupported ?? '',
      installed: usable === undefined ? undefined : { binary: usable.installation.binary, facts: usable.facts },
      ...(onRebaseStep === undefined ? {} : { onRebaseStep }),
    };
  }

  private async usable(signal?: AbortSignal): Promise<NonNullable<Found['usable']>> {
    const { usable, status } = await this.found.get(signal);
    if (usable !== undefined) return usable;
    throw driverUnavailable(status);
  }

  private async look(signal?: AbortSignal): Promise<Found> {
    const { accelerator: wanted, scratchDirectory, logger } = this.options;
    let installation: QemuInstallation;
    try {
      installation = await withTimeLimit(START_LIMIT, signal, (limited) => inspectInstallation(this.binary, limited));
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error;
      return { status: unavailable(this.name, error.message) };
    }
    const noKvm = wanted === 'tcg' ? 'tcg is configured' : await this.whyNoKvm(installation, scratchDirectory, signal);
    if (wanted === 'kvm' && noKvm !== '') return { status: unavailable(this.name, noKvm, installation.version) };
    const accelerator: Accelerator = noKvm === '' ? 'kvm' : 'tcg';
    if (accelerator === 'tcg' && wanted === 'auto') logger.warn({ reason: noKvm }, 'VMs run on software emulation');
    const { version, machineType, captureUnsupported } = installation;
    const facts = { version, machineType, accelerator, ...(await cpuModelFor(accelerator)) };
    const capabilities = captureUnsupported === '' ? DRIVER_CAPABILITIES.qemu : NO_CAPABILITIES;
    const status = {
      name: this.name,
      available: true,
      unavailableReason: '',
      version,
      accelerator,
      capabilities,
    } as const;
    return { status: { ...status, acceleratorReason: noKvm }, usable: { installation, facts } };
  }

  private async whyNoKvm(
    installation: QemuInstallation,
    scratchDirectory: string,
    signal?: AbortSignal,
  ): Promise<string> {
    try {
      return await probeKvm({ ...installation, scratchDirectory }, signal);
    } catch (error) {
      signal?.throwIfAborted();
      return `the KVM probe could not be made: ${messageOf(error)}`;
    }
  }
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

function tapOf({ nic: { backend } }: MachineSpec): { tapDescriptor?: number } {
  return backend.kind === 'tap' ? { tapDescriptor: backend.descriptor } : {};
}

async function end(vmm: QemuProcess, spec: MachineSpec): Promise<void> {
  killProcess(vmm.identity);
  await vmm.exited;
  vmm.qmp.close();
  removeTraces(spec);
}
