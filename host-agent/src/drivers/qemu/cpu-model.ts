import { readFile } from 'node:fs/promises';
import type { Accelerator } from './installation.js';

/** What the guest's processor is: for QEMU, and as recorded in captures. */
export async function cpuModelFor(accelerator: Accelerator): Promise<{ cpuArgument: string; cpuModel: string }> {
  if (accelerator === 'tcg') return { cpuArgument: TCG_CPU, cpuModel: TCG_CPU };
  return { cpuArgument: 'host', cpuModel: await hostCpuModel() };
}

/** Everything the emulator can do, RDRAND included. */
const TCG_CPU = 'max';

/** `host` is another processor on another host: its name belongs to it. */
export async function hostCpuModel(): Promise<string> {
  const model = /^model name\s*:\s*(.+)$/m.exec(await readFile('/proc/cpuinfo', 'latin1'))?.[1];
  return `host (${model ?? 'unknown'})`;
}
