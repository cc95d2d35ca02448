import { parseSnapshotId } from '../../domain/ids.js';
import type { DoctorSubject } from './check.js';
import type { Leftover } from './leftover.js';
import { namesIn } from './names-in.js';

/**
 * Folders of snapshots and captures, disks that lie in no folder (ZFS volumes), and TAPs, of which no row tells. Some of these
 * are there before their row; but once no operation is under way, whatever was seen before has its row or will never have one.
 * @returns undefined while operations are under way
 */
export async function leftElsewhere(subject: DoctorSubject): Promise<Leftover[] | undefined> {
  const { paths, store, snapshots, snapshotFiles, files, disks, network, journal } = subject;
  const stored = await disks.elsewhere();
  const [snapshotFolders, captures] = [await namesIn(paths.snapshots), await namesIn(paths.captures)];
  // From here on nothing comes between.
  const taps = network.strayTaps(store.usedSlots());
  if (journal.unfinished().length > 0) return undefined;
  const known = new Set<string>([...store.list(), ...snapshots.list()].map(({ id }) => id));
  return [
    ...stored
      .filter(({ owner }) => !known.has(owner))
      .map(({ name }) => ({ what: `disk ${name}`, remove: () => disks.discard(name) })),
    ...snapshotFolders
      .filter((id) => !known.has(id))
      .map((id) => ({ what: `folder of the snapshot ${id}`, remove: () => snapshotFiles.remove(parseSnapshotId(id)) })),
    ...captures.map((id) => ({
      what: `capture ${id}`,
      remove: () => files.removeCapture(paths.capture(id)),
    })),
    ...taps.map((tap) => ({
      what: `TAP ${tap}`,
      // Its slot may have been given to an instance meanwhile.
      remove: () => {
        if (network.strayTaps(store.usedSlots()).includes(tap)) network.removeStrayTap(tap);
      },
    })),
  ];
}
