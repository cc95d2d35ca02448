import { closeSync, constants, fstatSync, lstatSync, openSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf } from '@offshoot/shared/errors.js';
import { canonical } from './canonical-path.js';
import { refusal } from './refusal.js';

/** Write permission of the group and of everybody else, and of everybody else alone (stat(2)). */
const WRITABLE_BY_OTHERS = 0o022;
const WRITABLE_BY_ALL = 0o002;
/** In a folder with this bit others cannot replace what is not theirs (inode(7)). */
const STICKY = 0o1000;

/** Opens a file that root alone can have written or put there, to read it. @throws InvalidInput as {@link openTrusted} */
export const openToRead = (path: string): number => openTrusted(path, constants.O_RDONLY, WRITABLE_BY_OTHERS);

/**
 * Opens a file that root alone writes to, or makes it, to add to its end. Its folders may be a group's: Ubuntu's /var/log is
 * syslog's.
 * @throws InvalidInput as {@link openTrusted}
 */
export const openToAppend = (path: string): number =>
  openTrusted(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, WRITABLE_BY_ALL);

/** @throws InvalidInput when it is missing, a symbolic link or below one, another user's, or others may write it */
function openTrusted(path: string, flags: number, foldersNot: number): number {
  assertFolders(path, foldersNot);
  let fd: number;
  try {
    // Without O_NONBLOCK a FIFO would keep root waiting.
    fd = openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600);
  } catch (error) {
    throw refusal(`${path} has to be a file that root can open, and no symbolic link: ${messageOf(error)}`);
  }
  try {
    const stats = fstatSync(fd);
    // A second name may be that of a file which means something else.
    if (!stats.isFile() || stats.nlink !== 1) throw refusal(`${path} has to be a regular file with one name`);
    assertRoots(path, stats, WRITABLE_BY_OTHERS);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Whoever can write to a folder on the way can put another file there. */
function assertFolders(path: string, not: number): void {
  const folder = dirname(path);
  if (canonical(folder) !== folder)
    throw refusal(`${path} has to be named by an absolute path without symbolic links, to a folder that is there`);
  for (let each = folder; ; each = dirname(each)) {
    const stats = lstatSync(each);
    assertRoots(each, stats, (stats.mode & STICKY) === 0 ? not : 0);
    if (each === dirname(each)) return;
  }
}

function assertRoots(path: string, { uid, mode }: Stats, not: number): void {
  if (uid !== 0) throw refusal(`${path} has to be owned by root, not by the user ${String(uid)}: chown root ${path}`);
  if ((mode & not) !== 0) throw refusal(`${path} has to be writable by root alone: chmod go-w ${path}`);
}
