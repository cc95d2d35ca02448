import { OffshootError, Unsupported, messageOf } from '@offshoot/shared/errors.js';
import type { ZfsProgram } from './zfs-program.js';

/**
 * Asks ZFS for a dataset by its name, and believes no other answer than that.
 * @throws Unsupported (PROGRAM_MISSING, HELPER_REFUSED as the program has it, else ZFS_DATASET_MISSING), Unreachable
 */
export async function probeDataset(program: ZfsProgram, dataset: string, signal?: AbortSignal): Promise<void> {
  let found: string;
  try {
    found = await program.run(['list', '-H', '-d', '0', '-o', 'name', dataset], signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof OffshootError) throw error;
    throw notThere(dataset, messageOf(error), error);
  }
  if (found.replace(/\n$/, '') !== dataset) throw notThere(dataset, `it says ${JSON.stringify(found)}`);
}

const notThere = (dataset: string, why: string, cause?: unknown): Unsupported =>
  new Unsupported(`storage.zfs_dataset is ${dataset}, which ZFS does not have here: ${why}`, {
    reason: 'ZFS_DATASET_MISSING',
    metadata: { dataset },
    cause,
  });
