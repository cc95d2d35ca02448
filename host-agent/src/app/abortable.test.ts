import { describe, expect, it } from 'vitest';
import { abortable } from './abortable.js';

describe('what is waited for under a signal', () => {
  const gone = new Error('gone');

  it('settles as it does by itself', async () => {
    const { signal } = new AbortController();
    expect(await abortable(Promise.resolve(1), signal)).toBe(1);
    await expect(abortable(Promise.reject(new Error('no')), signal)).rejects.toThrow('no');
  });

  it('is not waited for once the signal ends', async () => {
    const caller = new AbortController();
    const waiting = abortable(new Promise(() => undefined), caller.signal);
    caller.abort(gone);
    await expect(waiting).rejects.toBe(gone);
  });

  it('may fail when nobody waits for it', async () => {
    const failing = Promise.reject(new Error('unheard'));
    await expect(abortable(failing, AbortSignal.abort(gone))).rejects.toBe(gone);
  });
});
