import { realpathSync } from 'node:fs';
import { refusal } from './refusal.js';

/** A path without symbolic links to the same; undefined where there is nothing. */
export function canonical(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** @throws InvalidInput when there is nothing at a path of the configuration, or a symbolic link on the way */
export function assertCanonical(path: string): void {
  if (canonical(path) !== path) throw refusal(`${path} has to be there, by a path without symbolic links`);
}
