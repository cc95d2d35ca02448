import type { TimeLimit } from '../time-limit.js';

/** From the process to a VM that stands ready: 10 to 40 ms with a small kernel; on whatever crowded host, later than this never. */
export const START_LIMIT: TimeLimit = {
  limitMs: 30_000,
  reason: 'VMM_START_TIMEOUT',
  who: 'Firecracker',
  what: 'start the VM',
};

/** Answers that need no work take less than a millisecond. Firecracker itself gives its processors 30 s to stop. */
export const CALL_LIMIT_MS = 35_000;

/** A capture writes what changed and waits for the disk (fsync), twice. */
export const CAPTURE_LIMIT_MS = 300_000;
