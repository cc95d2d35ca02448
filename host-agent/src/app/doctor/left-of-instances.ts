import { readdir, readlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { DoctorSubject } from './check.js';
import type { Leftover } from './leftover.js';
import { namesIn } from './names-in.js';

/**
 * Folders and processes of instances the daemon knows nothing of. A row is made before its folder and outlives it, so what
 * has none belongs to nobody, whatever is under way.
 */
export async function leftOfInstances({ paths, store, root, orphans, files }: DoctorSubject): Promise<Leftover[]> {
  const [folders, processes] = [await namesIn(paths.instances), await foldersOfProcesses(root)];
  // The rows last: an instance that was made meanwhile is known.
  const known = new Set<string>(store.list().map(({ id }) => id));
  const isLeft = (id: string): boolean => !known.has(id);
  const end = (id: string): Promise<void> => orphans.endProcessesOf(join(paths.instances, id));
  return [
    ...folders.filter(isLeft).map((id) => ({
      what: `folder of ${id}`,
      remove: async () => {
        await end(id);
        await files.sweep(new Set(store.list().map((each) => each.id)));
      },
    })),
    ...processes
      .filter((folder) => dirname(folder) === paths.instances && isLeft(basename(folder)))
      .map((folder) => ({ what: `process of ${basename(folder)}`, remove: () => end(basename(folder)) })),
  ];
}

/** Working directories of all processes; every VMM works in its instance's folder, also when that is gone. */
async function foldersOfProcesses(root: string): Promise<string[]> {
  const pids = (await readdir(join(root, 'proc'))).filter((name) => /^\d+$/.test(name));
  const folders = await Promise.all(
    pids.map((pid) => readlink(join(root, 'proc', pid, 'cwd')).catch(() => '')), // gone, or another user's
  );
  return [...new Set(folders.map((folder) => folder.replace(/ \(deleted\)$/, '')))];
}
