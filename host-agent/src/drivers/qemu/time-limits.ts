import type { TimeLimit } from '../time-limit.js';

/** A VMM takes commands 0.03 to 0.15 s after its start; on whatever crowded host, later than this it never will. */
export const START_LIMIT: TimeLimit = {
  limitMs: 30_000,
  reason: 'VMM_START_TIMEOUT',
  who: 'QEMU',
  what: 'take commands',
};

/** Device state loads in 3 to 16 ms; a guest stands still meanwhile. */
export const LOAD_LIMIT: TimeLimit = {
  limitMs: 10_000,
  reason: 'STATE_LOAD_TIMEOUT',
  who: 'QEMU',
  what: 'load the device state',
};
