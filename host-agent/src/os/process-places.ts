import { readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { jailNameOf } from './jail-name.js';

/** Where a process works, which for a VMM is where it belongs. */
export interface ProcessPlace {
  readonly pid: number;
  /** Its working directory, also one that was removed. */
  readonly folder: string;
  /** The name it was given by a jailer, or looks like it; see {@link jailNameOf}. */
  readonly jail: string | undefined;
}

/** Of all processes that can be looked at. @param proc /proc, or a folder that is like it */
export async function processPlaces(proc = '/proc'): Promise<ProcessPlace[]> {
  const pids = (await readdir(proc)).filter((name) => /^\d+$/.test(name));
  const places = await Promise.all(pids.map((pid) => placeOf(join(proc, pid), Number(pid))));
  return places.filter((place) => place !== undefined);
}

/** Whether a process belongs to one of the folders: works in it, or did before it was removed, or in its jail. */
export function belongsTo(directories: readonly string[]): (place: ProcessPlace) => boolean {
  const folders = new Set(directories);
  const jails = new Set(directories.map(jailNameOf));
  return ({ folder, jail }) => folders.has(folder) || (jail !== undefined && jails.has(jail));
}

async function placeOf(process: string, pid: number): Promise<ProcessPlace | undefined> {
  try {
    const folder = (await readlink(join(process, 'cwd'))).replace(/ \(deleted\)$/, '');
    // What is jailed works in its root, and nobody who does is to be asked in vain.
    return { pid, folder, jail: folder === '/' ? jailIn(await readFile(join(process, 'cmdline'), 'utf8')) : undefined };
  } catch {
    return undefined; // gone meanwhile, or another user's
  }
}

function jailIn(commandLine: string): string | undefined {
  const words = commandLine.split('\0');
  const option = words.indexOf('--id');
  return option < 0 ? undefined : words[option + 1];
}
