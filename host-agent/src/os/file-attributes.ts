import type { BigIntStats } from 'node:fs';
import { chmod, lchown } from 'node:fs/promises';
import { setFileTimes } from './libc.js';

/**
 * Gives a file, directory or symbolic link the owner, mode and times (to the nanosecond, as far as the filesystem keeps
 * them) of another. Owners only as root; nobody else may give files away. A link has no mode of its own.
 */
export async function copyAttributes(from: BigIntStats, path: string): Promise<void> {
  // Before the mode: a change of owner takes set-user-id away.
  if (process.getuid?.() === 0) await lchown(path, Number(from.uid), Number(from.gid));
  if (!from.isSymbolicLink()) await chmod(path, Number(from.mode) & 0o7777);
  setFileTimes(path, from.atimeNs, from.mtimeNs);
}
