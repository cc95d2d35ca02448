import { inspectVmm, type VmmInstallation, type VmmKind } from '../kvm-vmm-installation.js';

/** Its snapshots are those this driver knows from 52 on. A version is like `53.0-246-gae44c2971`. */
const CLOUD_HYPERVISOR: VmmKind = {
  program: 'cloud-hypervisor',
  title: 'Cloud Hypervisor',
  version: /^cloud-hypervisor v?(\d+\S*)/m,
  oldest: [52],
};

/** See {@link inspectVmm}. */
export const inspectInstallation = (program: string, kvm: string, signal?: AbortSignal): Promise<VmmInstallation> =>
  inspectVmm(CLOUD_HYPERVISOR, program, kvm, signal);
