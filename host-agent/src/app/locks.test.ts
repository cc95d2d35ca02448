import { describe, expect, it } from 'vitest';
import { mintInstanceId } from '../domain/ids.js';
import { Locks } from './locks.js';

const never = new AbortController().signal;
const settled = async (promise: Promise<unknown>): Promise<boolean> =>
  Promise.race([
    promise.then(
      () => true,
      () => true,
    ),
    new Promise<boolean>((resolve) => setImmediate(resolve, false)),
  ]);

describe('the lock of an instance', () => {
  it('is shared by forks and held alone by what changes the instance', async () => {
    const locks = new Locks();
    const id = mintInstanceId();
    const forks = [await locks.shared(id, never), await locks.shared(id, never)];
    const deletion = locks.exclusive(id, never);
    expect(await settled(deletion)).toBe(false);
    forks[0]![Symbol.dispose]();
    expect(await settled(deletion)).toBe(false);
    forks[1]![Symbol.dispose]();
    const held = await deletion;
    const late = locks.shared(id, never);
    expect(await settled(late)).toBe(false);
    held[Symbol.dispose]();
    (await late)[Symbol.dispose]();
  });

  it('is another for each instance', async () => {
    const locks = new Locks();
    using one = await locks.exclusive(mintInstanceId(), never);
    using two = await locks.exclusive(mintInstanceId(), never);
    expect([one, two]).toHaveLength(2);
  });

  it('can be waited for no longer than the caller wants, and is not lost by that', async () => {
    const locks = new Locks();
    const id = mintInstanceId();
    const held = await locks.exclusive(id, never);
    const caller = new AbortController();
    const waiting = locks.exclusive(id, caller.signal);
    caller.abort(new Error('cancelled'));
    await expect(waiting).rejects.toThrow('cancelled');
    held[Symbol.dispose]();
    (await locks.exclusive(id, never))[Symbol.dispose]();
  });

  it('lets everybody pass who comes after one that wants it last', async () => {
    const locks = new Locks();
    const id = mintInstanceId();
    const fork = await locks.shared(id, never);
    const last = locks.exclusiveLast(id, never);
    const later = await locks.shared(id, never);
    const deletion = locks.exclusive(id, never);
    for (const each of [fork, later]) each[Symbol.dispose]();
    const deleting = await deletion;
    expect(await settled(last)).toBe(false);
    deleting[Symbol.dispose]();
    (await last)[Symbol.dispose]();
  });
});
