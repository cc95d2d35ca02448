import { inspectVmm, type VmmInstallation, type VmmKind } from '../kvm-vmm-installation.js';

/**
 * Below 1.16.1 a guest's vsock connections to the host time out after a restore (its CHANGELOG, #5958); below 1.17 those of the
 * host to a guest that was paused and resumed hang (#6100).
 */
const FIRECRACKER: VmmKind = {
  program: 'firecracker',
  title: 'Firecracker',
  version: /^Firecracker v(\d+\.\d+\.\d+\S*)/m,
  oldest: [1, 17, 0],
};

/** See {@link inspectVmm}. */
export const inspectInstallation = (program: string, kvm: string, signal?: AbortSignal): Promise<VmmInstallation> =>
  inspectVmm(FIRECRACKER, program, kvm, signal);
