import { Timeout, Unreachable } from '@offshoot/shared/errors.js';

/**
 * Does something that a VMM may never finish. Whatever `work` makes it has to undo itself when its signal is aborted.
 * @throws Timeout after `limitMs`; the signal's reason; what `work` throws
 */
export async function withTimeLimit<T>(
  { limitMs, reason, what }: { readonly limitMs: number; readonly reason: string; readonly what: string },
  signal: AbortSignal | undefined,
  work: (limited: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = AbortSignal.timeout(limitMs);
  try {
    return await work(signal === undefined ? limit : AbortSignal.any([signal, limit]));
  } catch (error) {
    signal?.throwIfAborted();
    if (!limit.aborted || error instanceof Unreachable) throw error;
    throw new Timeout(`QEMU did not ${what} within ${String(limitMs / 1000)} s`, { reason, cause: error });
  }
}

/** A VMM takes commands 0.03 to 0.15 s after its start; on whatever crowded host, later than this it never will. */
export const START_LIMIT = { limitMs: 30_000, reason: 'VMM_START_TIMEOUT', what: 'take commands' } as const;

/** Device state loads in 3 to 16 ms; a guest stands still meanwhile. */
export const LOAD_LIMIT = { limitMs: 10_000, reason: 'STATE_LOAD_TIMEOUT', what: 'load the device state' } as const;
