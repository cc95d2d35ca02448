import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Conflict, Unreachable, Unsupported } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import type { VmmProcess } from '../../domain/instance.js';
import type { CaptureStep } from '../../domain/operations.js';
import type { FileIdentity } from '../../os/file-mappings.js';
import { killProcess, processEnded } from '../../os/process-identity.js';
import { ProcessMemory } from '../../os/process-memory.js';
import type {
  CaptureOptions,
  CaptureResult,
  CaptureTarget,
  GuestMemory,
  MachineSpec,
  VmSnapshot,
  Vm,
  VmExit,
} from '../../ports/driver.js';
import { checkSameMachine } from '../capture-check.js';
import { captureVm } from './capture.js';
import { ConsoleRotation } from './console-rotation.js';
import { addLayer, changeBacking, diskFileOf } from './disk-layer.js';
import { removeTraces } from './hand-over.js';
import type { MachineFacts } from './installation.js';
import { q35Regions } from './memory-layout.js';
import type { QemuProcess } from './qemu-process.js';
import type { QmpClient } from './qmp-client.js';
import { rebaseVm, type OnRebaseStep, type RebaseSource } from './rebase.js';
import { isRunning } from './run-state.js';
import { socketsOf } from './vmm-sockets.js';

export interface QemuVmParts {
  readonly process: VmmProcess;
  readonly exited: Promise<VmExit>;
  readonly qmp: QmpClient;
  readonly spec: Omit<MachineSpec, 'nic'>;
  readonly facts: MachineFacts;
  /** The file the VMM maps as RAM. */
  readonly memory: FileIdentity;
  readonly captureUnsupported: string;
  /** What a successor would be started with. */
  readonly installed: { readonly binary: string; readonly facts: MachineFacts } | undefined;
  readonly onRebaseStep?: OnRebaseStep;
  /** See {@link QemuProcess.release}. */
  readonly release: () => void;
  readonly logger: Logger;
}

export class QemuVm implements Vm {
  private guest: Socket | undefined;
  private detached = false;
  /** Settles when no successor is about to take over. */
  private handOver: Promise<unknown> = Promise.resolve();
  private readonly console: ConsoleRotation;

  readonly exited: Promise<VmExit>;
  private settle: (exit: VmExit) => void = () => undefined;

  constructor(private parts: QemuVmParts) {
    this.exited = new Promise((resolve) => (this.settle = resolve));
    this.console = new ConsoleRotation(() => this.parts.qmp, parts.spec, parts.logger);
    void this.watch(parts);
  }

  get process(): VmmProcess {
    return this.parts.process;
  }

  async state(signal?: AbortSignal): Promise<'running' | 'paused'> {
    return (await isRunning(this.parts.qmp, signal)) ? 'running' : 'paused';
  }

  async pause(signal?: AbortSignal): Promise<void> {
    await this.parts.qmp.run('stop', {}, signal);
  }

  async resume(signal?: AbortSignal): Promise<void> {
    await this.parts.qmp.run('cont', {}, signal);
  }

  async capture(
    target: CaptureTarget,
    options: CaptureOptions<CaptureStep> = {},
    signal?: AbortSignal,
  ): Promise<CaptureResult> {
    return captureVm(this.source, target, { ...options, goOn: false }, signal);
  }

  async snapshot(target: CaptureTarget, options: CaptureOptions = {}, signal?: AbortSignal): Promise<VmSnapshot> {
    const { process, installed, facts, onRebaseStep } = this.parts;
    if (process.privateMemory) {
      const capture = await captureVm(this.source, target, { ...options, goOn: true }, signal);
      return { capture, replaced: false };
    }
    if (installed === undefined)
      throw new Unsupported('a VM booted cold goes on in a new VMM, and QEMU is not usable any more', {
        reason: 'DRIVER_UNAVAILABLE',
      });
    const driver = 'qemu';
    checkSameMachine('QEMU', { driver, ...facts, driverVersion: facts.version }, { driver, ...installed.facts });
    const rebased = rebaseVm(
      this.source,
      target,
      {
        ...options,
        binary: installed.binary,
        ...(onRebaseStep === undefined ? {} : { onStep: onRebaseStep }),
        onReplaced: (successor) => {
          this.replaceBy(successor);
        },
      },
      signal,
    );
    this.handOver = rebased.catch(() => undefined);
    return { capture: await rebased, replaced: true };
  }

  async layDisk(file: string, signal?: AbortSignal): Promise<void> {
    await addLayer(this.parts.qmp, file, signal);
  }

  async changeBacking(file: string, signal?: AbortSignal): Promise<void> {
    await changeBacking(this.parts.qmp, this.parts.spec, file, signal);
  }

  async diskFile(signal?: AbortSignal): Promise<string> {
    return diskFileOf(this.parts.qmp, this.parts.spec, signal);
  }

  async openMemory(): Promise<GuestMemory> {
    const { process, memory, spec } = this.parts;
    return ProcessMemory.open(process.pid, memory, q35Regions(spec.memoryBytes));
  }

  /** @throws Conflict while another connection is open: QEMU would let this one wait for its end without a word */
  async dialGuest(signal?: AbortSignal): Promise<Duplex> {
    signal?.throwIfAborted();
    if (this.guest !== undefined && !this.guest.destroyed)
      throw new Conflict("the guest's channel is in use", { reason: 'CHANNEL_IN_USE' });
    const socket = connect({ path: socketsOf(this.parts.spec).channel });
    this.guest = socket;
    try {
      await once(socket, 'connect', signal === undefined ? {} : { signal });
      return socket;
    } catch (error) {
      socket.destroy();
      signal?.throwIfAborted();
      throw new Unreachable("the guest's channel cannot be reached", { reason: 'CHANNEL_UNREACHABLE', cause: error });
    }
  }

  hostPort(): undefined {
    return undefined;
  }

  async kill(): Promise<void> {
    killProcess(this.parts.process);
    await processEnded(this.parts.process);
    // Also told to those who wait for `exited`, unless this VM was detached: then nobody is told.
    if (!this.detached) await this.exited;
    this.hangUp();
    removeTraces(this.parts.spec);
  }

  detach(): Promise<void> {
    this.detached = true;
    this.parts.release();
    this.hangUp();
    return Promise.resolve();
  }

  private get source(): RebaseSource {
    const { process, qmp, facts, spec, memory, captureUnsupported } = this.parts;
    const { pid, privateMemory } = process;
    return { pid, identity: process, qmp, facts, spec, memory, privateMemory, unsupported: captureUnsupported };
  }

  private async watch(parts: QemuVmParts): Promise<void> {
    const exit = await parts.exited;
    await this.handOver; // a VMM that ends meanwhile is not the VM's end where its successor goes on
    if (parts !== this.parts) return;
    this.console[Symbol.dispose]();
    this.settle(exit);
  }

  /** The old VMM has not ended yet: by the time it does, its end is no longer the VM's. */
  private replaceBy(successor: QemuProcess): void {
    const { identity, qmp, exited } = successor;
    this.parts = {
      ...this.parts,
      process: { ...identity, privateMemory: true },
      qmp,
      exited,
      release: () => {
        successor.release();
      },
    };
    void this.watch(this.parts);
    this.guest?.destroy();
  }

  private hangUp(): void {
    this.console[Symbol.dispose]();
    this.parts.qmp.close();
    this.guest?.destroy();
  }
}
