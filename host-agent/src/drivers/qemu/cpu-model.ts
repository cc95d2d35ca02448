import { hostCpuModel } from '../host-cpu-model.js';
import type { Accelerator } from './installation.js';

/** What the guest's processor is: for QEMU, and as recorded in captures. */
export async function cpuModelFor(accelerator: Accelerator): Promise<{ cpuArgument: string; cpuModel: string }> {
  if (accelerator === 'tcg') return { cpuArgument: TCG_CPU, cpuModel: TCG_CPU };
  return { cpuArgument: 'host', cpuModel: await hostCpuModel() };
}

/**
 * x86-64-v2, RDRAND (the guest's first entropy) and AES, which the emulator hands to the host's. Not `max`: with AVX and
 * XSAVE each context switch and string function takes more emulation, 6.2 to 6.4 s of processor time instead of 5.4 to 5.7 s
 * until Linux 6.1 has run a Node program (QEMU 7.2, medians of 5), and it means another processor in each QEMU.
 */
const TCG_CPU = 'Nehalem-v1,+rdrand,+aes,+pclmulqdq,+fsgsbase';
