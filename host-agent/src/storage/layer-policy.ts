const MIB = 2 ** 20;

/**
 * Copying this much takes 3 ms of the source's pause and of each fork; a layer takes 7 ms and more before the pause, once. See
 * docs/performance.md, "What a disk costs".
 */
const LEAST_BYTES = 8 * MIB;

/**
 * Each layer is a file more that every hypervisor on it opens, and each read of what was written long ago passes through all
 * of them. Beyond so many a layer has to hold twice as much as the one before: a guest that writes without end then has some
 * twenty of them, not thousands, and its pause stays a small part of what copying everything would take.
 */
const CHEAP_LAYERS = 8;

/** Bytes of its own from which a disk on so many layers gets another one. */
export const worthLayer = (layers: number): number => LEAST_BYTES * 2 ** Math.max(0, layers - CHEAP_LAYERS);
