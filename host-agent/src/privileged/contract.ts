/** What the daemon and the helper have to agree on besides the grammar: both are of one version, or the daemon does not use it. */

/** What the helper can do on a machine, each as far as the configuration allows it and what it takes is there. */
export type Capability = 'zfs' | 'network';

/** How a call ended. sudo has 1 for itself, and node for what it dies of. */
export const EXIT = {
  done: 0,
  /** Nothing was run; one line says why. */
  refused: 2,
  /** What was run failed; its own words are what was printed, or a {@link failureLine}. */
  programFailed: 3,
  /** What was to be run is not there. */
  programMissing: 4,
} as const;

/** The reason of a failure that is the kernel's. */
export const UNNAMED_FAILURE = 'SYSTEM_CALL_FAILED';

/** How the helper says that something it does itself failed, for the daemon to say the same. @param reason machine-readable */
export const failureLine = (reason: string, message: string): string => `${reason}: ${message}`;

/** @returns undefined for a text that is none; no reason where that is {@link UNNAMED_FAILURE} */
export function parseFailureLine(
  text: string,
): { readonly reason: string | undefined; readonly message: string } | undefined {
  const [, reason, message] = /^([A-Z][A-Z_]+): ([^\n]*)\n?$/.exec(text) ?? [];
  if (reason === undefined || message === undefined) return undefined;
  return { reason: reason === UNNAMED_FAILURE ? undefined : reason, message };
}
