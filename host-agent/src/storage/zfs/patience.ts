import { setTimeout as delay } from 'node:timers/promises';

/** How often something is tried, and how long after the time before, in milliseconds. */
export interface Patience {
  readonly tries: number;
  readonly ms: number;
}

/**
 * For what kernel and udev do after ZFS has answered. Six times what the specification of the storage says ("ZFS"): on an emulated
 * host beside a guest that wrote without pause one device in some forty came later than after 5 s.
 */
export const UDEV_PATIENCE: Patience = { tries: 300, ms: 100 };

/** What the first attempt to have an outcome gave; undefined where none had. */
export async function tryPatiently<Outcome>(
  { tries, ms }: Patience,
  attempt: () => Promise<Outcome | undefined>,
  signal?: AbortSignal,
): Promise<Outcome | undefined> {
  for (let left = tries; left > 0; left--) {
    signal?.throwIfAborted();
    const outcome = await attempt();
    if (outcome !== undefined) return outcome;
    if (left > 1) await delay(ms, undefined, { ...(signal === undefined ? {} : { signal }) });
  }
  return undefined;
}
