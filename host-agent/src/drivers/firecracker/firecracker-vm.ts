import { Unsupported } from '@offshoot/shared/errors.js';
import type { FileIdentity } from '../../os/file-mappings.js';
import { ProcessMemory } from '../../os/process-memory.js';
import type { CaptureResult, CaptureTarget, GuestMemory } from '../../ports/driver.js';
import type { MachineIdentity } from '../capture-check.js';
import { HttpVm, type Going, type HttpVmParts } from '../http-api/http-vm.js';
import { captureVm } from './capture.js';
import type { FirecrackerApi } from './firecracker-api.js';
import { firecrackerRegions } from './memory-layout.js';
import { removeRemains } from './vmm-remains.js';

export interface FirecrackerVmParts extends HttpVmParts {
  readonly api: FirecrackerApi;
  readonly machine: MachineIdentity;
  /** The file the VMM maps as RAM, privately; undefined for a VM booted cold. */
  readonly base: FileIdentity | undefined;
}

/** One booted cold has no file that others could map, and each capture gets a file of its own: so it is never replaced. */
export class FirecrackerVm extends HttpVm<FirecrackerVmParts> {
  constructor(parts: FirecrackerVmParts) {
    super('firecracker', parts);
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

  protected captureVm(target: CaptureTarget, options: Going, signal?: AbortSignal): Promise<CaptureResult> {
    const { api, machine, spec, base, channel } = this.parts;
    const onChannelCut = (): void => {
      channel.hangUp();
    };
    return captureVm({ pid: this.process.pid, api, machine, spec, base, onChannelCut }, target, options, signal);
  }

  protected removeFiles(): void {
    removeRemains(this.parts.spec);
  }
}
