import { readFile } from 'node:fs/promises';
import { Corrupt } from '@offshoot/shared/errors.js';
import type { VmmProcess } from '../../domain/instance.js';
import { processInaccessible } from '../../os/file-mappings.js';
import { hostCpuModel } from '../host-cpu-model.js';
import { queryVersion, type Accelerator, type MachineFacts } from './installation.js';
import type { QmpClient } from './qmp-client.js';

/**
 * What a running VMM is, from itself: it may be older than the QEMU now installed. Machine type, CPU model and accelerator
 * stand on its command line, which we wrote.
 */
export async function factsOf({ pid }: VmmProcess, qmp: QmpClient, signal?: AbortSignal): Promise<MachineFacts> {
  let commandLine: string;
  try {
    commandLine = await readFile(`/proc/${String(pid)}/cmdline`, 'utf8');
  } catch (error) {
    throw processInaccessible(pid, 'cmdline', error);
  }
  const argv = commandLine.split('\0');
  const first = (option: string): string => {
    const value = argv[argv.indexOf(option) + 1]?.split(',')[0];
    if (!argv.includes(option) || value === undefined)
      throw new Corrupt(`process ${String(pid)} is not a VMM of ours: ${option} is missing`, { reason: 'VMM_FOREIGN' });
    return value;
  };
  const accelerator: Accelerator = first('-accel') === 'kvm' ? 'kvm' : 'tcg';
  const cpuArgument = argv[argv.indexOf('-cpu') + 1] ?? '';
  return {
    version: await queryVersion(qmp, signal),
    machineType: first('-machine'),
    accelerator,
    cpuArgument,
    cpuModel: accelerator === 'kvm' ? await hostCpuModel() : cpuArgument,
  };
}
