import { Corrupt } from '@offshoot/shared/errors.js';
import type { Snapshot } from '../domain/snapshot.js';
import type { Context } from './context.js';

/**
 * Reads a snapshot whole and compares every file with what was left; one that is not durable yet becomes so first.
 * @throws Corrupt naming the file and both values
 */
export async function verifySnapshot(context: Context, reference: string, signal: AbortSignal): Promise<Snapshot> {
  const { snapshots, snapshotFiles, sealer } = context;
  const { id } = snapshots.resolve(reference);
  using _lock = await context.locks.shared(id, signal);
  const snapshot = snapshots.resolve(id);
  await snapshotFiles.assertUnchanged(snapshot);
  const { name, checksums = {} } = await sealer.seal(snapshot, signal);
  const found = await snapshotFiles.checksumsOf(snapshot, signal);
  for (const [file, expected] of Object.entries(checksums))
    if (found[file] !== expected)
      throw new Corrupt(
        `snapshot ${name} is not what was left: the checksum of ${file} is ${String(found[file])}, was ${expected}`,
        { reason: 'SNAPSHOT_ALTERED', metadata: { snapshot: name, file, found: String(found[file]), expected } },
      );
  return snapshots.resolve(id);
}
