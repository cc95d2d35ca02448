import { cp } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';

/**
 * Puts koffi beside a bundle, which cannot contain it, for whoever runs that: other users may not read a checkout that is in
 * root's home.
 * @param directory folder of the bundle or above it
 */
export async function copyForeignFunctions(directory: string): Promise<void> {
  const from = dirname(createRequire(import.meta.url).resolve('koffi/package.json'));
  await cp(from, join(directory, 'node_modules/koffi'), {
    recursive: true,
    filter: (path) => {
      // What was compiled for this machine; neither sources nor other machines'.
      if (dirname(path) === join(from, 'build/koffi')) return basename(path) === `linux_${process.arch}`;
      return dirname(path) !== from || ['package.json', 'index.js', 'build'].includes(basename(path));
    },
  });
}
