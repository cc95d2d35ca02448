import { open, stat } from 'node:fs/promises';
import { Corrupt, InvalidState, Unreachable, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import { DRIVER_CAPABILITIES } from '../../domain/driver-capabilities.js';
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
} from '../../ports/driver.js';
import { checkMemory, checkSameMachine, checkState, type MachineIdentity } from '../capture-check.js';
import { hostCpuModel } from '../host-cpu-model.js';
import { HangUp } from '../http-api/hang-up.js';
import { KVM_DEVICE, UnusableVmm } from '../kvm-vmm-installation.js';
import { SharedLook } from '../shared-look.js';
import { withTimeLimit } from '../time-limit.js';
import { driverUnavailable, unavailable } from '../unavailable.js';
import { diedAtStart } from '../vmm-child.js';
import { vmmLog } from '../vmm-log.js';
import { VsockChannel } from '../vsock-channel.js';
import { FirecrackerApi } from './firecracker-api.js';
import { endFirecracker, startFirecracker, type FirecrackerProcess } from './firecracker-process.js';
import { FirecrackerVm } from './firecracker-vm.js';
import { inspectInstallation } from './installation.js';
import type { JailUser } from './jail/jail-command.js';
import { inspectJailer } from './jail/jailer-installation.js';
import { assertFits, bootRequests, loadRequests } from './machine-requests.js';
import { START_LIMIT } from './time-limits.js';
import { exitOfAdopted, exitOfChild } from './vmm-exit.js';
import { jailed, unjailed, type VmmProgram } from './vmm-program.js';
import { removeRemains } from './vmm-remains.js';
import { socketsOf } from './vmm-sockets.js';

export interface JailOptions extends JailUser {
  /** Name on the PATH, or a path. */
  readonly jailer: string;
}

export interface FirecrackerDriverOptions {
  /** Name on the PATH, or a path. */
  readonly binary?: string;
  /** See {@link inspectInstallation}. */
  readonly kvm?: string;
  /** Left out, VMMs run as the daemon's user, with the host's files. */
  readonly jail?: JailOptions;
  readonly logger: Logger;
}

/** Whoever asked for a jail wants Firecracker. */
const JAIL_REMEDY =
  'install Firecracker and the jailer of the same release (firecracker.binary, firecracker.jailer), or leave firecracker.jailer empty';

interface Usable {
  readonly program: VmmProgram;
  readonly machine: MachineIdentity;
}

interface Found {
  readonly status: DriverStatus;
  readonly usable?: Usable;
}

/** Firecracker, on KVM: its own snapshots, clones by its private mappings of their memory file. */
export class FirecrackerDriver implements HypervisorDriver {
  readonly name = 'firecracker';
  readonly diskFormats = ['raw'] as const;
  readonly tapKind = 'named-tap';
  private readonly found = new SharedLook((signal) => this.look(signal));

  constructor(private readonly options: FirecrackerDriverOptions) {}

  async probe(signal?: AbortSignal): Promise<DriverStatus> {
    return (await this.found.get(signal)).status;
  }

  async launch(spec: LaunchSpec, signal?: AbortSignal): Promise<Vm> {
    const { program, machine } = await this.usable(signal);
    assertFits(spec);
    const start = program.toBoot(spec);
    return withTimeLimit(START_LIMIT, signal, async (limited) => {
      const vmm = await startFirecracker(start, spec, limited);
      try {
        await vmm.api.carryOut(bootRequests(start.told), limited);
        limited.throwIfAborted();
        return this.vmOf(vmm, spec, machine, undefined);
      } catch (error) {
        throw bootFailure(error, await endFirecracker(vmm, spec));
      }
    });
  }

  async restore(spec: RestoreSpec, signal?: AbortSignal): Promise<{ vm: Vm; timings: RestoreTimings }> {
    const { program, machine } = await this.usable(signal);
    assertFits(spec);
    checkSameMachine('Firecracker', spec.capture, machine);
    const base = await checkMemory(spec);
    await checkStateFile(spec.stateFile, spec.capture);
    const start = program.toLoad(spec);
    return withTimeLimit(START_LIMIT, signal, async (limited) => {
      const started = performance.now();
      const vmm = await startFirecracker(start, spec, limited);
      const spawned = performance.now();
      try {
        await vmm.api.carryOut(loadRequests(start.told), limited);
        limited.throwIfAborted();
        const loaded = performance.now();
        const vm = this.vmOf(vmm, spec, machine, base);
        return { vm, timings: { spawnMs: spawned - started, loadMs: loaded - spawned } };
      } catch (error) {
        throw loadFailure(error, await endFirecracker(vmm, spec));
      }
    });
  }

  async assertLoadable(capture: Capture, stateFile: string, signal?: AbortSignal): Promise<void> {
    const { machine } = await this.usable(signal);
    checkSameMachine('Firecracker', capture, machine);
    await checkStateFile(stateFile, capture);
  }

  async adopt(process: VmmProcess, spec: Omit<MachineSpec, 'nic'>, signal?: AbortSignal): Promise<Vm | undefined> {
    return withTimeLimit(START_LIMIT, signal, async (limited) => {
      let hangUp: HangUp | undefined;
      const api = new FirecrackerApi(spec);
      try {
        if (isAlive(process)) {
          hangUp = await HangUp.of(socketsOf(spec).api, limited);
          const vm = await this.adopted(process, spec, api, hangUp, limited);
          this.options.logger.debug({ pid: process.pid }, 'VMM adopted');
          return vm;
        }
      } catch (error) {
        hangUp?.close();
        await api.close();
        if (isAlive(process)) throw error;
      }
      // Gone, or it ended while it was being looked at.
      removeRemains(spec);
      return undefined;
    });
  }

  private async adopted(
    process: VmmProcess,
    spec: Omit<MachineSpec, 'nic'>,
    api: FirecrackerApi,
    hangUp: HangUp,
    signal: AbortSignal,
  ): Promise<Vm> {
    const log = vmmLog(spec);
    const logStart = (await stat(log)).size;
    const isRunning = await api.isRunning(signal); // a VMM whose VM was never started is none of ours
    // From itself: it may be older than the Firecracker now installed.
    const machine = await machineOf(await api.version(signal));
    const base = (await api.logsDirtyPages(signal)) ? await identifyFile(spec.memoryFile) : undefined;
    return new FirecrackerVm({
      process,
      exited: exitOfAdopted(process, hangUp, log, logStart),
      api,
      spec,
      machine,
      base,
      channel: new VsockChannel(socketsOf(spec).vsock, { isHeld: !isRunning }),
      release: () => {
        hangUp.close();
      },
    });
  }

  private vmOf(
    { child, api }: FirecrackerProcess,
    spec: MachineSpec,
    machine: MachineIdentity,
    base: FileIdentity | undefined,
  ): Vm {
    // Also one booted cold: nobody maps its memory, so it goes on in its own VMM whatever is captured of it.
    const process = { ...child.identity, privateMemory: true };
    this.options.logger.debug(
      { pid: process.pid, directory: spec.directory, restored: base !== undefined },
      'VMM started',
    );
    const release = (): void => {
      child.release();
    };
    // One restored stands until it is resumed.
    const channel = new VsockChannel(socketsOf(spec).vsock, { isHeld: base !== undefined });
    return new FirecrackerVm({
      process,
      exited: exitOfChild(child.exited),
      api,
      spec,
      machine,
      base,
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
    try {
      const { binary = 'firecracker', kvm = KVM_DEVICE, jail } = this.options;
      const installation = await inspectInstallation(binary, kvm, signal);
      const program =
        jail === undefined
          ? unjailed(installation.binary)
          : jailed(await inspectJailer(jail.jailer, installation, signal), jail);
      const { version } = installation;
      const machine = await machineOf(version);
      const status: DriverStatus = {
        name: this.name,
        available: true,
        unavailableReason: '',
        version,
        accelerator: machine.accelerator,
        acceleratorReason: '',
        capabilities: DRIVER_CAPABILITIES.firecracker,
      };
      return { status, usable: { program, machine } };
    } catch (error) {
      if (!(error instanceof UnusableVmm)) throw error;
      const status = unavailable(this.name, error.message, error.version);
      return { status: this.options.jail === undefined ? status : { ...status, remedy: JAIL_REMEDY } };
    }
  }
}

/** Its devices are on MMIO unless it is told otherwise, and the guest sees the host's processor. */
async function machineOf(version: string): Promise<MachineIdentity> {
  return {
    driver: 'firecracker',
    version,
    machineType: 'firecracker-mmio',
    cpuModel: await hostCpuModel(),
    accelerator: 'kvm',
  };
}

async function checkStateFile(path: string, { stateSha256 }: Capture): Promise<void> {
  await using state = await open(path, 'r');
  await checkState(state, path, stateSha256);
}

type Exit = Awaited<ReturnType<typeof endFirecracker>>;

/** A VMM that hung up has died, or has turned its back on us and had to. */
function bootFailure(error: unknown, exit: Exit): unknown {
  if (error instanceof Unreachable) return diedAtStart('Firecracker', exit, error);
  if (!(error instanceof InvalidState)) return error;
  return new InvalidState(`${error.message} (its log: ${exit.logTail})`, {
    reason: error.reason,
    metadata: { ...error.metadata, logTail: exit.logTail },
    cause: error,
  });
}

/** Firecracker ends when it cannot load, after it has said why: in its answer, unless it was faster, and in its log. */
function loadFailure(error: unknown, exit: Exit): unknown {
  const ended = error instanceof Unreachable && exit.signal === null;
  if (error instanceof Unreachable && !ended) return diedAtStart('Firecracker', exit, error);
  if (!(error instanceof InvalidState) && !ended) return error;
  return new Corrupt(`Firecracker could not load the capture: ${messageOf(error)} (its log: ${exit.logTail})`, {
    reason: 'STATE_NOT_LOADED',
    metadata: { logTail: exit.logTail },
    cause: error,
  });
}
