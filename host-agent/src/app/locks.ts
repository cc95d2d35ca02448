import { Semaphore } from 'async-mutex';
import type { InstanceId, SnapshotId } from '../domain/ids.js';
import { abortable } from './abortable.js';

/**
 * More than forks run at once; more would wait for each other. Not many more: at each release the semaphore goes through all
 * numbers below, which takes 4 ms of the daemon's one thread for a million of them.
 */
const ALL = 1 << 12;

/** Turns in the queue: those of lower priority let all others pass, also those who come later. */
const [FIRST, LAST] = [0, -1];

type Locked = InstanceId | SnapshotId;

/**
 * One lock an instance and a snapshot: shared for those who only read its files (forks), exclusive for those who change its
 * state.
 */
export class Locks {
  private readonly locks = new Map<Locked, { semaphore: Semaphore; users: number }>();

  shared(id: Locked, signal: AbortSignal): Promise<Disposable> {
    return this.acquire(id, 1, signal);
  }

  exclusive(id: Locked, signal: AbortSignal): Promise<Disposable> {
    return this.acquire(id, ALL, signal);
  }

  /** The same when nobody else has the lock or waits for it, so that nobody has to wait for who waits here. */
  exclusiveLast(id: Locked, signal: AbortSignal): Promise<Disposable> {
    return this.acquire(id, ALL, signal, LAST);
  }

  /** Several at once: taken in the order of ids, so that no two operations wait for each other. */
  async all(
    wanted: readonly { readonly id: Locked; readonly mode: 'shared' | 'exclusive' }[],
    signal: AbortSignal,
  ): Promise<Disposable> {
    const taken: Disposable[] = [];
    const release = (): void => {
      for (const lock of taken.splice(0).reverse()) lock[Symbol.dispose]();
    };
    try {
      for (const { id, mode } of [...wanted].sort((a, b) => (a.id < b.id ? -1 : 1)))
        taken.push(await this[mode](id, signal));
    } catch (error) {
      release();
      throw error;
    }
    return { [Symbol.dispose]: release };
  }

  private async acquire(id: Locked, weight: number, signal: AbortSignal, priority = FIRST): Promise<Disposable> {
    signal.throwIfAborted();
    const lock = this.locks.get(id) ?? { semaphore: new Semaphore(ALL), users: 0 };
    this.locks.set(id, lock);
    lock.users++;
    const forget = (): void => {
      if (--lock.users === 0) this.locks.delete(id);
    };
    const acquired = lock.semaphore.acquire(weight, priority);
    try {
      const [, release] = await abortable(acquired, signal);
      return {
        [Symbol.dispose]: () => {
          release();
          forget();
        },
      };
    } catch (error) {
      // The queue cannot be left: give the turn back when it comes.
      void acquired.then(([, release]) => {
        release();
        forget();
      });
      throw error;
    }
  }
}
