/** The dataset that ZFS keeps disks in, as the daemon reaches it. */
export interface DatasetAccess {
  readonly dataset: string;
  /** Whether root runs `zfs`: the daemon is root, or has a helper. */
  readonly asRoot: boolean;
  /** Looks whether it can be reached. @throws Unsupported saying why not */
  probe(signal?: AbortSignal): Promise<void>;
}

/** What root does for a daemon that is not root. */
export interface HelperAccess {
  /** The program, by its absolute path. */
  readonly path: string;
  /** @returns its version and what it can do @throws Unsupported, Unreachable when it is of no use to this daemon */
  probe(): Promise<{ readonly version: string; readonly capabilities: readonly string[] }>;
  /** Whether nobody but root may write to the program, who then would be root. @throws system errors */
  isRootsAlone(): Promise<boolean>;
}
