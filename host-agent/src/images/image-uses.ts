import { createHash } from 'node:crypto';
import { closeSync, futimesSync, openSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import type { ImageId } from '../domain/ids.js';
import { StatePaths } from '../paths.js';
import { holdImage } from './image-lock.js';

/** Its modification time is the image's last use. */
const LAST_USE = 'last-use';
/** A link to the state directory of each daemon that has instances or snapshots of the image: made in one step, or not. */
const MARK_PREFIX = 'used-by-';

/** Whether a file in an image's folder tells of its use, and is not part of the image. */
export const tellsOfUse = (name: string): boolean => name === LAST_USE || name.startsWith(MARK_PREFIX);

/**
 * Who uses images and when, in small files beside each: the directory may be several daemons', none of which knows the others'
 * instances. All of it is synchronous, so that in one process nothing comes between.
 */
export class ImageUses {
  private readonly mark: string;

  /** @param stateDirectory of this daemon, by which the others know it */
  constructor(
    private readonly directory: string,
    private readonly stateDirectory: string,
  ) {
    this.mark = `${MARK_PREFIX}${createHash('sha256').update(stateDirectory).digest('hex').slice(0, 16)}`;
  }

  /** Of this daemon, now. @throws as holdImage */
  note(image: ImageId): void {
    const folder = join(this.directory, image);
    using _hold = holdImage(folder);
    unlessReadOnly(() => {
      this.writeMark(folder);
      const descriptor = openSync(join(folder, LAST_USE), 'a', 0o600);
      try {
        const now = new Date();
        futimesSync(descriptor, now, now);
      } finally {
        closeSync(descriptor);
      }
    });
  }

  /** This daemon has nothing of the image any more. */
  forget(image: ImageId): void {
    unlessReadOnly(() => {
      rmSync(join(this.directory, image, this.mark), { force: true });
    });
  }

  /** ISO 8601; undefined: never. */
  lastUse(image: ImageId): string | undefined {
    return statSync(join(this.directory, image, LAST_USE), { throwIfNoEntry: false })?.mtime.toISOString();
  }

  /** State directories of the other daemons that use the image. */
  others(image: ImageId): readonly string[] {
    return this.marksOfOthers(image)
      .map((mark) => this.ownerOf(image, mark))
      .filter((owner) => isThere(owner));
  }

  /** Marks agree with what this daemon has, and daemons that are no more have none. @param inUse what this one uses */
  settle(images: readonly ImageId[], inUse: (image: ImageId) => boolean): void {
    unlessReadOnly(() => {
      for (const image of images) {
        if (inUse(image)) this.writeMark(join(this.directory, image));
        else this.forget(image);
        for (const mark of this.marksOfOthers(image))
          if (!isThere(this.ownerOf(image, mark))) rmSync(join(this.directory, image, mark), { force: true });
      }
    });
  }

  private writeMark(folder: string): void {
    try {
      symlinkSync(this.stateDirectory, join(folder, this.mark));
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
  }

  private marksOfOthers(image: ImageId): string[] {
    try {
      const names = readdirSync(join(this.directory, image));
      return names.filter((name) => name.startsWith(MARK_PREFIX) && name !== this.mark);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    }
  }

  private ownerOf(image: ImageId, mark: string): string {
    try {
      return readlinkSync(join(this.directory, image, mark));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return ''; // let go of meanwhile
      throw error;
    }
  }
}

/** A daemon that has the images mounted read-only can say nothing to the others. */
function unlessReadOnly(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (errnoOf(error) !== 'EROFS') throw error;
  }
}

/** Whether a daemon's state is still there. One that may not be looked at is. */
function isThere(stateDirectory: string): boolean {
  if (stateDirectory === '') return false;
  try {
    return statSync(new StatePaths(stateDirectory).database, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true;
  }
}
