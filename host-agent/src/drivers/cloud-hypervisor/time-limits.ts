import type { TimeLimit } from '../time-limit.js';

/** From the process to a VM that runs, or stands loaded: 50 ms with a small kernel; on whatever crowded host, later than this never. */
export const START_LIMIT: TimeLimit = {
  limitMs: 30_000,
  reason: 'VMM_START_TIMEOUT',
  who: 'Cloud Hypervisor',
  what: 'start the VM',
};

/** The same for a VM that is only to show whether it can be captured: where it takes longer, it cannot be told. */
export const PROBE_LIMIT: TimeLimit = { ...START_LIMIT, limitMs: 10_000 };

/** Answers that need no work take about a millisecond. A pause waits for the disk's requests that are under way. */
export const CALL_LIMIT_MS = 35_000;

/** Device state is some tens of kilobytes, and memory is never among it. */
export const CAPTURE_LIMIT_MS = 60_000;
