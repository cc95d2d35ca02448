import type { Duplex } from 'node:stream';
import { Unsupported } from '@offshoot/shared/errors.js';
import type { DriverName } from '../../domain/driver-capabilities.js';
import type { VmmProcess } from '../../domain/instance.js';
import type { CaptureStep } from '../../domain/operations.js';
import { killProcess, processEnded } from '../../os/process-identity.js';
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
import type { VsockChannel } from '../vsock-channel.js';

/** What every VMM with an HTTP API can be told. */
interface VmApi {
  isRunning(signal?: AbortSignal): Promise<boolean>;
  pause(signal?: AbortSignal): Promise<void>;
  resume(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface HttpVmParts {
  readonly process: VmmProcess;
  readonly exited: Promise<VmExit>;
  readonly api: VmApi;
  readonly spec: Omit<MachineSpec, 'nic'>;
  readonly channel: VsockChannel;
  /** What else this process does for the VMM that ends when it is let go. */
  readonly release: () => void;
}

/** Of a capture: the VM stays paused after it, or goes on as it was. */
export type Going =
  (CaptureOptions<CaptureStep> & { readonly goOn: false }) | (CaptureOptions & { readonly goOn: true });

/** A VM under a VMM that is driven over HTTP, reached over vsock, and never replaced by another one. */
export abstract class HttpVm<Parts extends HttpVmParts = HttpVmParts> implements Vm {
  readonly process: VmmProcess;
  readonly exited: Promise<VmExit>;
  private detached = false;

  constructor(
    private readonly driver: DriverName,
    protected readonly parts: Parts,
  ) {
    this.process = parts.process;
    this.exited = parts.exited;
  }

  protected abstract captureVm(target: CaptureTarget, options: Going, signal?: AbortSignal): Promise<CaptureResult>;
  abstract openMemory(): Promise<GuestMemory>;
  /** Of a VMM that is gone. */
  protected abstract removeFiles(): void;

  async state(signal?: AbortSignal): Promise<'running' | 'paused'> {
    return (await this.parts.api.isRunning(signal)) ? 'running' : 'paused';
  }

  async pause(signal?: AbortSignal): Promise<void> {
    await this.whileHeld(() => this.parts.api.pause(signal));
  }

  async resume(signal?: AbortSignal): Promise<void> {
    await this.parts.api.resume(signal);
    this.parts.channel.release();
  }

  async capture(
    target: CaptureTarget,
    options: CaptureOptions<CaptureStep> = {},
    signal?: AbortSignal,
  ): Promise<CaptureResult> {
    return this.whileHeld(() => this.captureVm(target, { ...options, goOn: false }, signal));
  }

  async snapshot(target: CaptureTarget, options: CaptureOptions = {}, signal?: AbortSignal): Promise<VmSnapshot> {
    const { channel } = this.parts;
    const wasHeld = channel.isHeld;
    const capture = await this.whileHeld(() => this.captureVm(target, { ...options, goOn: true }, signal));
    if (!wasHeld) channel.release();
    return { capture, replaced: false };
  }

  layDisk(): Promise<void> {
    return this.withoutLayers();
  }

  changeBacking(): Promise<void> {
    return this.withoutLayers();
  }

  diskFile(): Promise<string> {
    return Promise.resolve(this.parts.spec.disk.path);
  }

  /** @throws Conflict while another connection is open */
  async dialGuest(signal?: AbortSignal): Promise<Duplex> {
    return this.parts.channel.dial(signal);
  }

  /** Firecracker's docs/vsock.md, "Guest-Initiated Connections"; Cloud Hypervisor's are the same. */
  hostPort(port: number): string {
    return `${this.parts.channel.path}_${String(port)}`;
  }

  async kill(): Promise<void> {
    killProcess(this.process);
    await processEnded(this.process);
    // Also told to those who wait for `exited`, unless this VM was detached: then nobody is told.
    if (!this.detached) await this.exited;
    await this.letGo();
    this.removeFiles();
  }

  async detach(): Promise<void> {
    this.detached = true;
    await this.letGo();
  }

  /** The guest is not to be paused with a connection open; when the work fails the VM is as it was. */
  private async whileHeld<Result>(work: () => Promise<Result>): Promise<Result> {
    const { channel } = this.parts;
    const wasHeld = channel.isHeld;
    await channel.hold();
    try {
      return await work();
    } catch (error) {
      if (!wasHeld) channel.release();
      throw error;
    }
  }

  private withoutLayers(): Promise<never> {
    return Promise.reject(
      new Unsupported(`driver ${this.driver} cannot lay disks on a running VM: it lacks the capability diskLayers`, {
        reason: 'CAPABILITY_MISSING',
        metadata: { driver: this.driver, capability: 'diskLayers' },
      }),
    );
  }

  private async letGo(): Promise<void> {
    this.parts.release();
    this.parts.channel.hangUp();
    await this.parts.api.close();
  }
}
