import { Timeout, Unreachable } from '@offshoot/shared/errors.js';

/** What a VMM has so much time for. */
export interface TimeLimit {
  readonly limitMs: number;
  readonly reason: string;
  /** The VMM, in messages. */
  readonly who: string;
  /** As in "QEMU did not ...". */
  readonly what: string;
}

/**
 * Does something that a VMM may never finish. Whatever `work` makes it has to undo itself when its signal is aborted.
 * @throws Timeout after `limitMs`; the signal's reason; what `work` throws
 */
export async function withTimeLimit<T>(
  { limitMs, reason, who, what }: TimeLimit,
  signal: AbortSignal | undefined,
  work: (limited: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = AbortSignal.timeout(limitMs);
  try {
    return await work(signal === undefined ? limit : AbortSignal.any([signal, limit]));
  } catch (error) {
    signal?.throwIfAborted();
    if (!limit.aborted || error instanceof Unreachable) throw error;
    throw new Timeout(`${who} did not ${what} within ${String(limitMs / 1000)} s`, { reason, cause: error });
  }
}
