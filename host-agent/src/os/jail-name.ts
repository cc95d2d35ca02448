import { createHash } from 'node:crypto';
import { basename, dirname, join } from 'node:path';

/** In the folder of an instance whose VMM is jailed, while that lives: what the jail is made of. Root's alone. */
export const JAIL_FOLDER = 'jail';

/** What a jailer takes for a name: letters, digits and hyphens, 64 of them (its docs, `--id`). */
const MAX_NAME = 64;
/** Hexadecimal digits of the folder's whole path, by which equal names in two state directories differ. */
const DIGITS = 16;

/**
 * The name of the jail of a VMM that belongs to a folder: the folder's own, as far as a jailer takes it, and what tells it from
 * others of that name. It stands on the VMM's command line, which is how a jailed one is found: its working directory is its
 * jail's root, which has no path out here.
 */
export function jailNameOf(directory: string): string {
  const name = basename(directory)
    .replace(/[^A-Za-z0-9-]/g, '-')
    .slice(0, MAX_NAME - DIGITS - 1);
  return `${name}-${createHash('sha256').update(directory).digest('hex').slice(0, DIGITS)}`;
}

/** The folder in `parent` that a jail belongs to; undefined when it belongs to one elsewhere. */
export function folderOfJail(jail: string, parent: string): string | undefined {
  const directory = join(parent, jail.slice(0, -DIGITS - 1));
  return dirname(directory) === parent && jailNameOf(directory) === jail ? directory : undefined;
}
