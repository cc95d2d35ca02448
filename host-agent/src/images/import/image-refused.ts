import { InvalidInput } from '@offshoot/shared/errors.js';

/** What is wrong with a source; each is a stable `reason` of an InvalidInput error. */
export type RefusalReason =
  /** Neither a directory, nor a file of a kind that is known, nor a reference. */
  | 'IMAGE_SOURCE_UNKNOWN'
  /** Not what OCI's or Docker's layout says. */
  | 'IMAGE_LAYOUT_INVALID'
  | 'IMAGE_MEDIA_TYPE_UNKNOWN'
  /** No image for this machine's architecture. */
  | 'IMAGE_PLATFORM_MISSING'
  /** Content is not what its digest says. */
  | 'IMAGE_DIGEST_MISMATCH'
  /** A path or link that leads out of the image, or that no file system can have. */
  | 'IMAGE_PATH_UNSAFE'
  /** Larger than the limits on what is unpacked. */
  | 'IMAGE_TOO_LARGE'
  /** Something no root disk can have, or that cannot boot. */
  | 'IMAGE_CONTENT_INVALID';

/** The source is refused: nothing about this machine would make it right. */
export const refused = (
  reason: RefusalReason,
  problem: string,
  metadata: Readonly<Record<string, string>> = {},
  cause?: unknown,
): InvalidInput =>
  new InvalidInput(`the image cannot be imported: ${problem}`, {
    reason,
    metadata,
    violations: [{ field: 'source', description: problem }],
    cause,
  });
