import { Semaphore } from 'async-mutex';
import type { InstanceId } from '../domain/ids.js';
import { abortable } from './abortable.js';

/** More than forks can run at once. */
const ALL = 1 << 20;

/**
 * One lock an instance: shared for those who only read its files (forks), exclusive for those who change its state. An
 * operation that needs several takes them in the order of ids.
 */
export class InstanceLocks {
  private readonly locks = new Map<InstanceId, { semaphore: Semaphore; users: number }>();

  shared(id: InstanceId, signal: AbortSignal): Promise<Disposable> {
    return this.acquire(id, 1, signal);
  }

  exclusive(id: InstanceId, signal: AbortSignal): Promise<Disposable> {
    return this.acquire(id, ALL, signal);
  }

  private async acquire(id: InstanceId, weight: number, signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    const lock = this.locks.get(id) ?? { semaphore: new Semaphore(ALL), users: 0 };
    this.locks.set(id, lock);
    lock.users++;
    const forget = (): void => {
      if (--lock.users === 0) this.locks.delete(id);
    };
    const acquired = lock.semaphore.acquire(weight);
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
