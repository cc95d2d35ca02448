import type { FileIdentity } from '../../os/file-mappings.js';
import { ProcessMemory } from '../../os/process-memory.js';
import type { CaptureResult, CaptureTarget, GuestMemory } from '../../ports/driver.js';
import type { MachineIdentity } from '../capture-check.js';
import { HttpVm, type Going, type HttpVmParts } from '../http-api/http-vm.js';
import { captureVm } from './capture.js';
import type { CloudHypervisorApi } from './cloud-hypervisor-api.js';
import { cloudHypervisorRegions } from './memory-layout.js';
import { removeFiles } from './vmm-files.js';

export interface CloudHypervisorVmParts extends HttpVmParts {
  readonly api: CloudHypervisorApi;
  readonly machine: MachineIdentity;
  /** The file the VMM maps as RAM. */
  readonly memory: FileIdentity;
  readonly captureUnsupported: string;
}

/** The memory of one booted cold, which goes on writing its file, is copied: so it is never replaced. */
export class CloudHypervisorVm extends HttpVm<CloudHypervisorVmParts> {
  constructor(parts: CloudHypervisorVmParts) {
    super('cloud-hypervisor', parts);
  }

  async openMemory(): Promise<GuestMemory> {
    const { process, memory, spec } = this.parts;
    return ProcessMemory.open(process.pid, memory, cloudHypervisorRegions(spec.memoryBytes));
  }

  protected captureVm(target: CaptureTarget, options: Going, signal?: AbortSignal): Promise<CaptureResult> {
    const { api, machine, spec, memory, captureUnsupported: unsupported } = this.parts;
    const { pid, privateMemory } = this.process;
    return captureVm({ pid, api, machine, spec, memory, privateMemory, unsupported }, target, options, signal);
  }

  protected removeFiles(): void {
    removeFiles(this.parts.spec);
  }
}
