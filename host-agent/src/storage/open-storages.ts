import type { DiskStorage } from '../ports/disk-storage.js';
import { Qcow2Disks } from './qcow2-disks.js';
import { RawDisks } from './raw-disks.js';
import { canReflink } from './reflink-probe.js';

/** The disk storages that this state directory's filesystem has, best ones first: found out by trying. */
export async function openStorages(stateDirectory: string): Promise<readonly DiskStorage[]> {
  const reflinks = await canReflink(stateDirectory);
  return [
    new Qcow2Disks(reflinks),
    ...(reflinks ? [new RawDisks('reflink')] : []),
    // Also where there are reflinks: of a state directory that was elsewhere before.
    new RawDisks('sparse'),
  ];
}
