import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { Conflict, NotFound, errnoOf } from '@offshoot/shared/errors.js';
import { LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock } from '../os/libc.js';

// Locks are on the folder itself: they go along when it is renamed, end with the process, and hold between all daemons that
// share the directory. Nobody waits for one, since whoever has it may be building an image for minutes.

/**
 * Keeps an image from being deleted while something is made of it. Synchronous.
 * @throws NotFound IMAGE_NOT_FOUND when it was deleted, Conflict IMAGE_BUSY while it is being deleted
 */
export const holdImage = (folder: string): Disposable =>
  locked(folder, LOCK_SH, 'is being deleted at this moment: call again to learn whether it was');

/** Keeps everybody else from an image that is to be deleted. Synchronous. @throws as {@link holdImage}, while anybody holds it */
export const claimImage = (folder: string): Disposable =>
  locked(folder, LOCK_EX, 'is being used at this moment, by an instance or image that is made of it: call again');

function locked(folder: string, operation: number, busy: string): Disposable {
  const descriptor = open(folder);
  try {
    flock(descriptor, operation | LOCK_NB);
    // It may have been deleted between the two, and even made anew.
    if (inodeAt(folder) !== fstatSync(descriptor).ino) throw gone(folder);
  } catch (error) {
    closeSync(descriptor);
    if (errnoOf(error) !== 'EWOULDBLOCK' && errnoOf(error) !== 'EAGAIN') throw error;
    throw new Conflict(`the image ${shortId(folder)} ${busy}`, {
      reason: 'IMAGE_BUSY',
      metadata: { image: basename(folder) },
    });
  }
  return {
    [Symbol.dispose]: () => {
      flock(descriptor, LOCK_UN); // a child that is being started has the descriptor until it runs its program
      closeSync(descriptor);
    },
  };
}

function open(folder: string): number {
  try {
    return openSync(folder, 'r');
  } catch (error) {
    throw errnoOf(error) === 'ENOENT' ? gone(folder, error) : error;
  }
}

const inodeAt = (folder: string): number | undefined => statSync(folder, { throwIfNoEntry: false })?.ino;

const shortId = (folder: string): string => basename(folder).slice(0, 12);

const gone = (folder: string, cause?: unknown): NotFound =>
  new NotFound(`the image ${shortId(folder)} was deleted meanwhile`, {
    reason: 'IMAGE_NOT_FOUND',
    metadata: { image: basename(folder) },
    cause,
  });
