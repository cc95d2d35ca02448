const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** Everything a request is held to before any work starts. Bytes, and milliseconds where the name says so. */
export const REQUEST_LIMITS = {
  nameLength: 63,
  /** Longest id or name by which something is looked up; an image id has 64 digits. */
  referenceLength: 64,
  requestIdLength: 128,
  vcpus: { min: 1, max: 16, default: 1 },
  memory: { min: 128 * MIB, max: 64 * GIB, multipleOf: 2 * MIB, default: 512 * MIB },
  /** An image's file system grows by up to 1024 times; the least of them has 512 MiB. */
  disk: { max: 512 * GIB, multipleOf: MIB },
  labels: 64,
  labelKeyLength: 63,
  labelValueBytes: 256,
  workload: {
    /** All files together. */
    fileBytes: MIB,
    files: 256,
    /** Linux: PATH_MAX with its NUL is 4096, NAME_MAX is 255. */
    pathBytes: 4095,
    pathSegmentBytes: 255,
    mode: 0o7777,
    defaultMode: 0o644,
    arguments: 1024,
    environment: 1024,
    /** Linux: MAX_ARG_STRLEN is 128 KiB with the NUL, for one argument or `NAME=value`. */
    argumentBytes: 128 * KIB - 1,
    /** Arguments and environment together, well under a guest's ARG_MAX (a quarter of an 8 MiB stack). */
    execBytes: 512 * KIB,
  },
  /** What is laid on an instance's own disk. */
  injection: {
    fileBytes: MIB,
    /** All files together. */
    filesBytes: 2 * MIB,
    files: 256,
    mode: 0o777,
    defaultMode: 0o600,
    /** The largest 32-bit number means nobody, to chown(2). */
    maxId: 2 ** 32 - 2,
    variables: 256,
    environmentBytes: 128 * KIB,
    pemBytes: 256 * KIB,
  },
  /** Of one call. */
  forks: 256,
  mailboxes: 16,
  ackTimeoutMs: { max: 30_000, default: 5_000 },
  networkTimeoutMs: { max: 30_000, default: 10_000 },
  waitTimeoutMs: { max: 600_000, default: 30_000 },
  gracePeriodMs: { max: 60_000, default: 5_000 },
  pageSize: { max: 1000, default: 100 },
  pageTokenLength: 128,
} as const;

/** Largest request accepted: a full workload with room for its other fields. */
export const MAX_REQUEST_BYTES = 4 * MIB;
/** Largest answer sent: a page of 1000 instances. */
export const MAX_RESPONSE_BYTES = 16 * MIB;
