/** What the daemon and the helper have to agree on besides the grammar: both are of one version, or the daemon does not use it. */

/** What the helper can do on a machine, each as far as its program is there. */
export type Capability = 'zfs';

/** How a call ended. sudo has 1 for itself, and node for what it dies of. */
export const EXIT = {
  done: 0,
  /** Nothing was run; one line says why. */
  refused: 2,
  /** What was run failed; its own words are what was printed. */
  programFailed: 3,
  /** What was to be run is not there. */
  programMissing: 4,
} as const;
