import { closeSync, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { Conflict, errnoOf } from '@offshoot/shared/errors.js';
import { LOCK_EX, LOCK_NB, flock } from '../os/libc.js';
import type { StatePaths } from '../paths.js';

/** The state directory, held by this daemon alone for as long as the object lives. */
export class StateDirectory implements Disposable {
  private constructor(
    readonly paths: StatePaths,
    private readonly lock: number,
  ) {}

  /** Makes what is missing and takes the lock. @throws Conflict when another daemon has it */
  static async open(paths: StatePaths): Promise<StateDirectory> {
    for (const directory of [paths.root, paths.instances, paths.snapshots, paths.images])
      await mkdir(directory, { recursive: true, mode: 0o700 });
    const descriptor = openSync(paths.lockFile, 'a', 0o600);
    try {
      // The kernel drops the lock with the process, however it ends: no stale lock is possible.
      flock(descriptor, LOCK_EX | LOCK_NB);
    } catch (error) {
      closeSync(descriptor);
      if (errnoOf(error) !== 'EWOULDBLOCK' && errnoOf(error) !== 'EAGAIN') throw error;
      throw new Conflict(
        `another daemon uses the state directory ${paths.root}: stop it, or choose another with --state-dir`,
        {
          reason: 'STATE_DIRECTORY_IN_USE',
          metadata: { state_dir: paths.root },
          cause: error,
        },
      );
    }
    return new StateDirectory(paths, descriptor);
  }

  [Symbol.dispose](): void {
    closeSync(this.lock);
  }
}
