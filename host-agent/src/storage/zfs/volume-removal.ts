import { randomBytes } from 'node:crypto';
import { InvalidState } from '@offshoot/shared/errors.js';
import { labelOf } from './dataset-tree.js';
import type { ZfsDatasets, ZfsSnapshot } from './zfs-datasets.js';

/**
 * Removes a volume, whatever was cloned of it: what stands on its snapshots is promoted first, so that these are another's.
 * Then what it stood on itself and nobody else does. Missing is success.
 * @throws InvalidState when a clone that is not the daemon's stands on it
 */
export async function removeVolume(datasets: ZfsDatasets, name: string): Promise<void> {
  if (!(await datasets.exists(name))) return;
  await handOver(datasets, name);
  const origin = await datasets.originOf(name);
  await datasets.destroy(name);
  if (origin !== undefined) await dropUnused(datasets, origin);
}

/** Removes snapshots of a volume that nobody stands on any more, or ever did because the daemon ended before. */
export async function dropUnusedOf(datasets: ZfsDatasets, name: string): Promise<void> {
  for (const { name: snapshot, clones } of await datasets.snapshotsOf(name))
    if (clones.length === 0 && !datasets.tree.isContent(snapshot)) await datasets.destroy(snapshot);
}

/** Makes the name of a snapshot free: it goes where nobody stands on it, and gets another name where somebody does. */
export async function freeLabel(datasets: ZfsDatasets, snapshot: string): Promise<void> {
  const [dataset = ''] = snapshot.split('@');
  const found = (await datasets.snapshotsOf(dataset)).find(({ name }) => name === snapshot);
  if (found === undefined) return;
  if (found.clones.length === 0) await datasets.destroy(snapshot);
  else await datasets.rename(snapshot, otherLabel(dataset));
}

/** Nobody stands on the volume's snapshots after this. */
async function handOver(datasets: ZfsDatasets, name: string): Promise<void> {
  const snapshots = await datasets.snapshotsOf(name);
  // Promoting a clone of the newest one takes all older ones along.
  const newest = snapshots.findLast(({ clones }) => clones.length > 0);
  if (newest === undefined) return;
  const heir = newest.clones.find((clone) => datasets.tree.contains(clone));
  if (heir === undefined) throw inUse(name, newest);
  for (const { name: unused, clones } of snapshots) if (clones.length === 0) await datasets.destroy(unused);

  // Two snapshots of one name cannot become one volume's.
  const taken = new Set((await datasets.snapshotsOf(heir)).map((snapshot) => labelOf(snapshot.name)));
  const renamed: { readonly from: string; readonly to: string }[] = [];
  try {
    for (const { name: from, clones } of snapshots) {
      if (clones.length === 0 || !taken.has(labelOf(from))) continue;
      const to = otherLabel(name);
      await datasets.rename(from, to);
      renamed.push({ from, to });
    }
    await datasets.promote(heir);
  } catch (error) {
    for (const { from, to } of renamed) await datasets.rename(to, from);
    throw error;
  }
}

async function dropUnused(datasets: ZfsDatasets, snapshot: string): Promise<void> {
  if (!datasets.tree.contains(snapshot) || datasets.tree.isContent(snapshot)) return;
  const [dataset = ''] = snapshot.split('@');
  const found = (await datasets.snapshotsOf(dataset)).find(({ name }) => name === snapshot);
  if (found?.clones.length === 0) await datasets.destroy(snapshot);
}

const otherLabel = (dataset: string): string => `${dataset}@kept-${randomBytes(8).toString('hex')}`;

const inUse = (name: string, { clones }: ZfsSnapshot): InvalidState =>
  new InvalidState(
    `${name} cannot be removed: ${clones.join(', ')} was cloned of it and is not the daemon's; promote or destroy that first`,
    { reason: 'DISK_IN_USE', metadata: { dataset: name, dependants: clones.join(',') } },
  );
