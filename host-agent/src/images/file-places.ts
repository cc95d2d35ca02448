import { InvalidInput } from '@offshoot/shared/errors.js';
import { CLOSED_FOLDERS } from '../domain/disk-layout.js';
import type { DiskFile } from '../ports/disk-preparer.js';
import { ROOT_INODE, askDebugfs, inQuotes, type Debugfs } from './debugfs.js';
import { parseInode } from './debugfs-inode.js';
import { fromText } from './tar/byte-string.js';

/** A name on a disk by what is there already: the inode of a folder, folders below it that are not yet, the name. */
interface Place {
  readonly inode: number;
  readonly below: readonly string[];
  readonly name: string;
}

export interface Placement {
  /** To be made, each after the one it is in. */
  readonly folders: readonly Place[];
  /** Of the files, in their order. */
  readonly places: readonly (Place & {
    /** Whether something else is there, to be removed. */
    readonly replaces: boolean;
  })[];
}

/**
 * Finds where files go on a disk whose folders may be symbolic links, as `/bin` and `/var/run` mostly are. Names in the result
 * are bytes (tar/byte-string.ts).
 * @throws InvalidInput naming the file, where it cannot be laid
 */
export async function placeFiles(debugfs: Debugfs, files: readonly DiskFile[]): Promise<Placement> {
  const found = await lookUp(debugfs, files);
  const closed = new Map<number, string>();
  for (const folder of CLOSED_FOLDERS.keys()) {
    const inode = found.folderAt(folder);
    if (inode !== undefined) closed.set(inode, folder);
  }

  const folders = new Map<string, Place>();
  const places = new Map<string, Placement['places'][number]>();
  files.forEach(({ path }, i) => {
    const refuse = (why: string): InvalidInput =>
      InvalidInput.field(`files[${String(i)}].path`, `${path} ${why}`, 'DISK_PATH_TAKEN');
    let inode = ROOT_INODE;
    const below: string[] = [];
    for (const folder of foldersOf(path)) {
      const present = below.length === 0 ? found.folderAt(folder) : undefined;
      if (present !== undefined) {
        inode = present;
        const over = closed.get(present);
        if (over !== undefined) throw refuse(`leads into ${over}, which ${CLOSED_FOLDERS.get(over) ?? ''}`);
        continue;
      }
      if (below.length === 0 && found.typeAt(folder) !== undefined)
        throw refuse(`cannot be: ${folder} is no folder on the image's disk`);
      const place = { inode, below: [...below], name: lastOf(folder) };
      folders.set(keyOf(place), place);
      below.push(place.name);
    }
    const type = below.length === 0 ? found.typeAt(path) : undefined;
    if (type === 'directory') throw refuse("is a folder on the image's disk");
    const place = { inode, below, name: lastOf(path), replaces: type !== undefined };
    if (places.has(keyOf(place))) throw refuse('is the same file as another one, by a symbolic link of the image');
    places.set(keyOf(place), place);
  });
  for (const [key, place] of places)
    if (folders.has(key))
      throw InvalidInput.field(
        'files',
        `${Buffer.from(place.name, 'latin1').toString()} would be a file and a folder`,
        'DISK_PATH_TAKEN',
      );
  return { folders: [...folders.values()], places: [...places.values()] };
}

interface Found {
  /** Inode of the folder at a path, through links. */
  folderAt(path: string): number | undefined;
  /** What is at a path, a link itself. */
  typeAt(path: string): string | undefined;
}

async function lookUp(debugfs: Debugfs, files: readonly DiskFile[]): Promise<Found> {
  const paths = files.map(({ path }) => path);
  const asked = [...new Set([...CLOSED_FOLDERS.keys(), ...paths.flatMap(foldersOf), ...paths])];
  const questions = asked.flatMap((path) => [path, `${path}/.`]).map((path) => `stat ${inQuotes(fromText(path))}`);
  const answers = await askDebugfs(debugfs, questions, (answer) => ({
    type: parseInode(answer)?.type,
    inode: Number(/^Inode: (\d+)/m.exec(answer)?.[1]),
  }));
  const itself = new Map(asked.map((path, i) => [path, answers[2 * i]]));
  const followed = new Map(asked.map((path, i) => [path, answers[2 * i + 1]]));
  return {
    folderAt: (path) => {
      const answer = followed.get(path);
      return answer?.type === 'directory' ? answer.inode : undefined;
    },
    typeAt: (path) => itself.get(path)?.type,
  };
}

/** Of `/a/b/c`: `/a` and `/a/b`. */
function foldersOf(path: string): string[] {
  const names = path.split('/').slice(1, -1);
  return names.map((_, i) => `/${names.slice(0, i + 1).join('/')}`);
}

const lastOf = (path: string): string => fromText(path.slice(path.lastIndexOf('/') + 1));
const keyOf = ({ inode, below, name }: Place): string => [String(inode), ...below, name].join('/');
