import { setTimeout as delay } from 'node:timers/promises';

/** How often something is tried, and how long after the time before, in milliseconds. */
export interface Patience {
  readonly tries: number;
  readonly ms: number;
}

/** For what udev does after ZFS has answered: 50 x 100 ms (specification of the storage, "ZFS"). */
export const UDEV_PATIENCE: Patience = { tries: 50, ms: 100 };

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
