import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Stats } from 'node:fs';

export interface TreeEntry {
  /** Relative to the folder walked, with `/`. */
  readonly name: string;
  readonly path: string;
  readonly stats: Stats;
}

/**
 * Everything below a folder, parents first, in byte order of names. Links are entries and never followed: readdir's own
 * `recursive` follows those to folders.
 */
export async function* walkTree(folder: string, prefix = ''): AsyncGenerator<TreeEntry> {
  for (const base of (await readdir(folder)).sort()) {
    const path = join(folder, base);
    const stats = await lstat(path);
    const name = `${prefix}${base}`;
    yield { name, path, stats };
    if (stats.isDirectory()) yield* walkTree(path, `${name}/`);
  }
}
