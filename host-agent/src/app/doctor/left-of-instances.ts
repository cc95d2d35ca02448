import { basename, dirname, join } from 'node:path';
import { folderOfJail } from '../../os/jail-name.js';
import { processPlaces, type ProcessPlace } from '../../os/process-places.js';
import type { DoctorSubject } from './check.js';
import type { Leftover } from './leftover.js';
import { namesIn } from './names-in.js';

/**
 * Folders and processes of instances the daemon knows nothing of. A row is made before its folder and outlives it, so what
 * has none belongs to nobody, whatever is under way.
 */
export async function leftOfInstances({ paths, store, root, orphans, files }: DoctorSubject): Promise<Leftover[]> {
  const [folders, processes] = [await namesIn(paths.instances), await processPlaces(join(root, 'proc'))];
  // The rows last: an instance that was made meanwhile is known.
  const known = new Set<string>(store.list().map(({ id }) => id));
  const isLeft = (id: string): boolean => !known.has(id);
  const end = (id: string): Promise<void> => orphans.endProcessesOf([join(paths.instances, id)]);
  return [
    ...folders.filter(isLeft).map((id) => ({
      what: `folder of ${id}`,
      remove: async () => {
        await end(id);
        await files.sweep(new Set(store.list().map((each) => each.id)));
      },
    })),
    ...[...new Set(processes.flatMap((place) => ownerIn(paths.instances, place) ?? []))]
      .filter((folder) => isLeft(basename(folder)))
      .map((folder) => ({ what: `process of ${basename(folder)}`, remove: () => end(basename(folder)) })),
  ];
}

/** The folder in `instances` that a process belongs to, also when that is gone. */
function ownerIn(instances: string, { folder, jail }: ProcessPlace): string | undefined {
  if (dirname(folder) === instances) return folder;
  return jail === undefined ? undefined : folderOfJail(jail, instances);
}
