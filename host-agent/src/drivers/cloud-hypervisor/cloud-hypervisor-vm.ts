import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { GUEST_CHANNEL_PORT } from '@offshoot/shared/channel/guest-port.js';
import { Conflict, Unsupported } from '@offshoot/shared/errors.js';
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
  Vm,
  VmExit,
  VmSnapshot,
} from '../../ports/driver.js';
import type { MachineIdentity } from '../capture-check.js';
import { dialVsock } from '../hybrid-vsock.js';
import { withTimeLimit } from '../time-limit.js';
import { captureVm, type CaptureSource } from './capture.js';
import type { CloudHypervisorApi } from './cloud-hypervisor-api.js';
import { cloudHypervisorRegions } from './memory-layout.js';
import { DIAL_LIMIT } from './time-limits.js';
import { filesOf, removeFiles } from './vmm-files.js';

export interface CloudHypervisorVmParts {
  readonly process: VmmProcess;
  readonly exited: Promise<VmExit>;
  readonly api: CloudHypervisorApi;
  readonly spec: Omit<MachineSpec, 'nic'>;
  readonly machine: MachineIdentity;
  /** The file the VMM maps as RAM. */
  readonly memory: FileIdentity;
  readonly captureUnsupported: string;
  /** What else this process does for the VMM that ends when it is let go. */
  readonly release: () => void;
}

export class CloudHypervisorVm implements Vm {
  readonly process: VmmProcess;
  readonly exited: Promise<VmExit>;
  private guest: Socket | 'dialling' | undefined;
  private detached = false;

  constructor(private readonly parts: CloudHypervisorVmParts) {
    this.process = parts.process;
    this.exited = parts.exited;
  }

  async state(signal?: AbortSignal): Promise<'running' | 'paused'> {
    return (await this.parts.api.isRunning(signal)) ? 'running' : 'paused';
  }

  async pause(signal?: AbortSignal): Promise<void> {
    await this.parts.api.pause(signal);
  }

  async resume(signal?: AbortSignal): Promise<void> {
    await this.parts.api.resume(signal);
  }

  async capture(
    target: CaptureTarget,
    options: CaptureOptions<CaptureStep> = {},
    signal?: AbortSignal,
  ): Promise<CaptureResult> {
    return captureVm(this.source, target, { ...options, goOn: false }, signal);
  }

  /** No VM is replaced: the memory of one booted cold, which goes on writing its file, is copied. */
  async snapshot(target: CaptureTarget, options: CaptureOptions = {}, signal?: AbortSignal): Promise<VmSnapshot> {
    return { capture: await captureVm(this.source, target, { ...options, goOn: true }, signal), replaced: false };
  }

  layDisk(): Promise<void> {
    return Promise.reject(
      new Unsupported('Cloud Hypervisor cannot lay disks on a running VM: it lacks the capability diskLayers', {
        reason: 'CAPABILITY_MISSING',
        metadata: { driver: 'cloud-hypervisor', capability: 'diskLayers' },
      }),
    );
  }

  diskFile(): Promise<string> {
    return Promise.resolve(this.parts.spec.disk.path);
  }

  async openMemory(): Promise<GuestMemory> {
    const { process, memory, spec } = this.parts;
    return ProcessMemory.open(process.pid, memory, cloudHypervisorRegions(spec.memoryBytes));
  }

  /** @throws Conflict while another connection is open */
  async dialGuest(signal?: AbortSignal): Promise<Duplex> {
    signal?.throwIfAborted();
    if (this.guest === 'dialling' || this.guest?.destroyed === false)
      throw new Conflict("the guest's channel is in use", { reason: 'CHANNEL_IN_USE' });
    this.guest = 'dialling';
    try {
      const { vsock } = filesOf(this.parts.spec);
      const socket = await withTimeLimit(DIAL_LIMIT, signal, (limited) =>
        dialVsock(vsock, GUEST_CHANNEL_PORT, limited),
      );
      this.guest = socket;
      return socket;
    } catch (error) {
      this.guest = undefined;
      throw error;
    }
  }

  async kill(): Promise<void> {
    killProcess(this.process);
    await processEnded(this.process);
    // Also told to those who wait for `exited`, unless this VM was detached: then nobody is told.
    if (!this.detached) await this.exited;
    await this.letGo();
    removeFiles(this.parts.spec);
  }

  async detach(): Promise<void> {
    this.detached = true;
    await this.letGo();
  }

  private get source(): CaptureSource {
    const { api, machine, spec, memory, captureUnsupported } = this.parts;
    const { pid, privateMemory } = this.process;
    return { pid, api, machine, spec, memory, privateMemory, unsupported: captureUnsupported };
  }

  private async letGo(): Promise<void> {
    this.parts.release();
    if (this.guest !== 'dialling') this.guest?.destroy();
    await this.parts.api.close();
  }
}
