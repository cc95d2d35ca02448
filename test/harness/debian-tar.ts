import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { CACHE } from './cache.js';
import { isRoot } from './test-machine.js';

/** What of the machine {@link debianTar} misses; empty where nothing. */
export async function missingForDebian(): Promise<string> {
  if (!isRoot) return 'root';
  return (await execa('debootstrap', ['--version'], { reject: false })).failed ? 'debootstrap' : '';
}

/**
 * The root of a minimal Debian as a tar, made once and kept.
 * @param scratch folder in which it is installed
 * @returns undefined without a package archive to make it from
 */
export async function debianTar(scratch: string): Promise<string | undefined> {
  const tar = join(CACHE, 'debian-minbase-bookworm.tar');
  if (existsSync(tar)) return tar;
  const root = join(scratch, 'debian');
  const made = await execa('debootstrap', ['--variant=minbase', 'bookworm', root], { reject: false });
  if (made.failed) return undefined;
  await execa('tar', ['-C', root, '--numeric-owner', '--xattrs', '--xattrs-include=*', '-cf', `${tar}.new`, '.']);
  renameSync(`${tar}.new`, tar);
  return tar;
}
