import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Conflict, Unreachable } from '@offshoot/shared/errors.js';
import type { VmmProcess } from '../../domain/instance.js';
import type { FileIdentity } from '../../os/file-mappings.js';
import { killProcess, processEnded } from '../../os/process-identity.js';
import { ProcessMemory } from '../../os/process-memory.js';
import type { CaptureResult, GuestMemory, MachineSpec, Vm, VmExit } from '../../ports/driver.js';
import { captureVm } from './capture.js';
import type { MachineFacts } from './installation.js';
import { q35Regions } from './memory-layout.js';
import { channelSocket, removeSockets } from './qemu-process.js';
import type { QmpClient } from './qmp-client.js';

export interface QemuVmParts {
  readonly process: VmmProcess;
  readonly exited: Promise<VmExit>;
  readonly qmp: QmpClient;
  readonly spec: Omit<MachineSpec, 'nic'>;
  readonly facts: MachineFacts;
  /** The file the VMM maps as RAM. */
  readonly memory: FileIdentity;
  readonly captureUnsupported: string;
  /** See {@link QemuProcess.release}. */
  readonly release: () => void;
}

export class QemuVm implements Vm {
  private guest: Socket | undefined;
  private detached = false;

  constructor(private readonly parts: QemuVmParts) {}

  get process(): VmmProcess {
    return this.parts.process;
  }

  get exited(): Promise<VmExit> {
    return this.parts.exited;
  }

  async pause(signal?: AbortSignal): Promise<void> {
    await this.parts.qmp.run('stop', {}, signal);
  }

  async resume(signal?: AbortSignal): Promise<void> {
    await this.parts.qmp.run('cont', {}, signal);
  }

  async capture(target: { stateFile: string; memoryFile: string }, signal?: AbortSignal): Promise<CaptureResult> {
    const { process, qmp, facts, spec, memory, captureUnsupported } = this.parts;
    const source = { pid: process.pid, qmp, facts, spec, memory, privateMemory: process.privateMemory };
    return captureVm({ ...source, unsupported: captureUnsupported }, target, signal);
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
    const socket = connect({ path: channelSocket(this.parts.spec) });
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

  async kill(): Promise<void> {
    killProcess(this.parts.process);
    await processEnded(this.parts.process);
    // Also told to those who wait for `exited`, unless this VM was detached: then nobody is told.
    if (!this.detached) await this.parts.exited;
    this.hangUp();
    removeSockets(this.parts.spec);
  }

  detach(): Promise<void> {
    this.detached = true;
    this.parts.release();
    this.hangUp();
    return Promise.resolve();
  }

  private hangUp(): void {
    this.parts.qmp.close();
    this.guest?.destroy();
  }
}
