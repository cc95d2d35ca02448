const MIB = 2 ** 20;

/**
 * Copying this much takes 3 ms of the source's pause and of each fork; a layer takes 7 ms and more before the pause, once. See
 * docs/performance.md, "What a disk costs".
 */
const LEAST_BYTES = 8 * MIB;

/**
 * Each layer is a file more that every hypervisor on it opens, and each read of what was written long ago passes through all
 * of them. Beyond so many the newest become one.
 */
export const MOST_LAYERS = 16;

/** As many at least become one: fewer at a time would be merged, hence copied, more often. */
const FEWEST_MERGED = 8;

/**
 * Where merging does not keep up, or finds no room, a layer has to hold twice as much as the one before from here on: a guest
 * that writes without end then has some forty of them, not thousands.
 */
const OVERDUE_LAYERS = 2 * MOST_LAYERS;

/** Bytes of its own from which a disk on so many layers gets another one. */
export const worthLayer = (layers: number): number => LEAST_BYTES * 2 ** Math.max(0, layers - OVERDUE_LAYERS);

/**
 * How many of a disk's layers are to become one, counted from the newest; 0 for none. So many that what lies below is more than
 * twice as large as they are together. Layers then grow downwards as powers of two do, and what a guest once wrote is copied again
 * only when as much has been written after it: some six times on a disk of 100 GiB.
 * @param bytes what each layer holds, from the newest down
 */
export function layersToMerge(bytes: readonly number[]): number {
  if (bytes.length <= MOST_LAYERS) return 0;
  let [count, sum] = [0, 0];
  for (const each of bytes) {
    if (count >= FEWEST_MERGED && each > 2 * sum) break;
    count += 1;
    sum += each;
  }
  return count;
}
