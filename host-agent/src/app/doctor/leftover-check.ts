import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import { folderOfJail } from '../../os/jail-name.js';
import { processPlaces, type ProcessPlace } from '../../os/process-places.js';
import { fail, pass, type Check, type DoctorSubject } from './check.js';

/** What belongs to an instance that no row names any more. */
interface Leftover {
  readonly id: string;
  readonly folder: string;
  readonly what: 'folder' | 'process';
}

/**
 * Folders and processes of instances the daemon knows nothing of. A row is made before its folder and outlives it, so what
 * has none belongs to nobody, whatever is under way.
 */
export const LEFTOVER_CHECK: Check = {
  name: 'leftovers',
  run: async (subject) => {
    const found = await leftoversOf(subject);
    if (found.length === 0) return pass('no folders or processes of instances that do not exist');
    const detail = found.map(({ what, id }) => `${what} of ${id}`).join(', ');
    if (!subject.fix) return fail(detail, 'run offshoot doctor --fix, which ends and removes them');
    for (const folder of new Set(found.map((each) => each.folder))) await subject.orphans.endProcessesOf(folder);
    await subject.files.sweep(new Set(subject.store.list().map(({ id }) => id)));
    const left = await leftoversOf(subject);
    if (left.length === 0) return pass(`removed: ${detail}`);
    return fail(
      left.map(({ what, id }) => `${what} of ${id} cannot be removed`).join(', '),
      'look into the daemon’s log, and remove them by hand',
    );
  },
};

async function leftoversOf({ paths, store, root }: DoctorSubject): Promise<Leftover[]> {
  const [folders, processes] = [await namesIn(paths.instances), await processPlaces(join(root, 'proc'))];
  // The rows last: an instance that was made meanwhile is known.
  const known = new Set<string>(store.list().map(({ id }) => id));
  const isLeft = (id: string): boolean => !known.has(id);
  return [
    ...folders.filter(isLeft).map((id) => ({ id, folder: join(paths.instances, id), what: 'folder' as const })),
    ...[...new Set(processes.flatMap((place) => ownerIn(paths.instances, place) ?? []))]
      .filter((folder) => isLeft(basename(folder)))
      .map((folder) => ({ id: basename(folder), folder, what: 'process' as const })),
  ];
}

const namesIn = async (folder: string): Promise<string[]> => {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith('.')); // on their way out
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
};

/** The folder in `instances` that a process belongs to, also when that is gone. */
function ownerIn(instances: string, { folder, jail }: ProcessPlace): string | undefined {
  if (dirname(folder) === instances) return folder;
  return jail === undefined ? undefined : folderOfJail(jail, instances);
}
