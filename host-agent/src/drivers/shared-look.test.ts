import { describe, expect, it } from 'vitest';
import { SharedLook } from './shared-look.js';

describe('a look that is shared', () => {
  it('is taken once, for all who ask', async () => {
    let looks = 0;
    const look = new SharedLook(() => Promise.resolve(++looks));
    expect(await Promise.all([look.get(), look.get()])).toEqual([1, 1]);
    expect(await look.get()).toBe(1);
  });

  it('is taken again by those who still wait when the one who asked first gives up', async () => {
    const cancel = new AbortController();
    let looks = 0;
    const look = new SharedLook(
      (signal) =>
        new Promise<number>((resolve, reject) => {
          looks++;
          if (signal === undefined) resolve(looks);
          signal?.addEventListener('abort', () => {
            reject(new Error('given up'));
          });
        }),
    );
    const first = look.get(cancel.signal);
    const second = look.get();
    cancel.abort(new Error('no longer wanted'));
    await expect(first).rejects.toThrow('no longer wanted');
    expect(await second).toBe(2);
  });

  it('is taken again after it failed', async () => {
    let looks = 0;
    const look = new SharedLook(() => (++looks === 1 ? Promise.reject(new Error('not now')) : Promise.resolve(looks)));
    await expect(look.get()).rejects.toThrow('not now');
    expect(await look.get()).toBe(2);
  });
});
