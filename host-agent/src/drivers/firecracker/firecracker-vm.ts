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
import type { FirecrackerApi } from './firecracker-api.js';
import { firecrackerRegions } from './memory-layout.js';
import { DIAL_LIMIT } from './time-limits.js';
import { removeSockets, socketsOf } from './vmm-sockets.js';

export interface FirecrackerVmParts {
  readonly process: VmmProcess;
  readonly exited: Promise<VmExit>;
  readonly api: FirecrackerApi;
  readonly spec: Omit<MachineSpec, 'nic'>;
  readonly machine: MachineIdentity;
  /** The file the VMM maps as RAM, privately; undefined for a VM booted cold. */
  readonly base: FileIdentity | undefined;
  /** What else this process does for the VMM that ends when it is let go. */
  readonly release: () => void;
}

export class FirecrackerVm implements Vm {
  readonly process: VmmProcess;
  readonly exited: Promise<VmExit>;
  private guest: Socket | 'dialling' | undefined;
  private detached = false;

  constructor(private readonly parts: FirecrackerVmParts) {
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

  /** No VM is replaced: one booted cold has no file that others could map, and each capture gets a file of its own. */
  async snapshot(target: CaptureTarget, options: CaptureOptions = {}, signal?: AbortSignal): Promise<VmSnapshot> {
    return { capture: await captureVm(this.source, target, { ...options, goOn: true }, signal), replaced: false };
  }

  layDisk(): Promise<void> {
    return Promise.reject(
      new Unsupported('Firecracker has no disks in layers: it lacks the capability diskLayers', {
        reason: 'CAPABILITY_MISSING',
        metadata: { driver: 'firecracker', capability: 'diskLayers' },
      }),
    );
  }

  diskFile(): Promise<string> {
    return Promise.resolve(this.parts.spec.disk.path);
  }

  /**
   * @throws Unsupported for a VM booted cold: its memory is anonymous, and may lie in one mapping with the VMM's own (seen with
   *   the C library's heap of a thread, 1.17), so where it begins cannot be told
   */
  async openMemory(): Promise<GuestMemory> {
    const { base, spec, process } = this.parts;
    if (base === undefined)
      throw new Unsupported(
        'the memory of a VM that Firecracker booted is in no file: restore it from a capture first',
        {
          reason: 'MEMORY_ANONYMOUS',
        },
      );
    return ProcessMemory.open(process.pid, base, firecrackerRegions(spec.memoryBytes));
  }

  /** @throws Conflict while another connection is open */
  async dialGuest(signal?: AbortSignal): Promise<Duplex> {
    signal?.throwIfAborted();
    if (this.guest === 'dialling' || this.guest?.destroyed === false)
      throw new Conflict("the guest's channel is in use", { reason: 'CHANNEL_IN_USE' });
    this.guest = 'dialling';
    try {
      const { vsock } = socketsOf(this.parts.spec);
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
    removeSockets(this.parts.spec);
  }

  async detach(): Promise<void> {
    this.detached = true;
    await this.letGo();
  }

  private get source(): CaptureSource {
    const { api, machine, spec, base } = this.parts;
    const onChannelCut = (): void => {
      this.hangUp();
    };
    return { pid: this.process.pid, api, machine, spec, base, onChannelCut };
  }

  private async letGo(): Promise<void> {
    this.parts.release();
    this.hangUp();
    await this.parts.api.close();
  }

  private hangUp(): void {
    if (this.guest !== 'dialling') this.guest?.destroy();
  }
}
