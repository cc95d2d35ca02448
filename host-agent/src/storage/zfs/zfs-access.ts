import type { PrivilegedClient } from '../../os/privileged-client.js';
import type { DatasetAccess, HelperAccess } from '../../ports/host-access.js';
import { HelperZfs } from './helper-zfs.js';
import { probeDataset } from './probe-dataset.js';
import { LocalZfs, type ZfsProgram } from './zfs-program.js';

export interface ZfsAccess {
  readonly program: ZfsProgram;
  /** Undefined where no dataset is configured. */
  readonly zfs: DatasetAccess | undefined;
  /** Undefined where no helper is configured. */
  readonly helper: HelperAccess | undefined;
}

export interface ZfsAccessOptions {
  /** As configured: empty for none. */
  readonly dataset: string;
  /** Undefined where no helper is configured. */
  readonly client: PrivilegedClient | undefined;
  /** The daemon's: the helper has to be of the same. */
  readonly version: string;
}

/**
 * Chooses who runs `zfs`, the daemon or root's helper for it.
 * @throws Unsupported, Unreachable for a helper that is of no use, as {@link PrivilegedClient.assertUsable}
 */
export async function openZfsAccess(options: ZfsAccessOptions): Promise<ZfsAccess> {
  const { dataset, client, version } = options;
  const helper = client && {
    path: client.helper,
    probe: () => client.assertUsable(version, dataset === '' ? [] : ['zfs']),
    isRootsAlone: () => client.isRootsAlone(),
  };
  await helper?.probe();
  const program = client === undefined ? new LocalZfs() : new HelperZfs(client);
  const asRoot = client !== undefined || process.geteuid?.() === 0;
  const zfs =
    dataset === ''
      ? undefined
      : { dataset, asRoot, probe: (signal?: AbortSignal) => probeDataset(program, dataset, signal) };
  return { program, zfs, helper };
}
