/** A version of a binary package, as its archive describes it. */
export interface PackageRecord {
  readonly name: string;
  readonly version: string;
  /** Debian architecture, `amd64` for instance. */
  readonly architecture: string;
  /** Hex digest of the .deb. */
  readonly sha256: string;
  /** Names in Depends, without versions; of alternatives the first. */
  readonly dependencies: readonly string[];
}

/** Where Debian packages come from. Nothing is ever installed. */
export interface PackageSource {
  /** Debian architecture of this machine. */
  architecture(signal?: AbortSignal): Promise<string>;
  /** The version that would be installed, from the lists on this machine: no network. Undefined: no list has it. */
  find(name: string, signal?: AbortSignal): Promise<PackageRecord | undefined>;
  /** Path of the .deb, verified; valid until the source's cache is cleared. @throws Unreachable when it cannot be had */
  fetch(record: PackageRecord, signal?: AbortSignal): Promise<string>;
}

/** Names in a Depends field: `a (= 1), b | c` gives a and b. */
export const dependencyNames = (field: string): string[] =>
  field
    .split(',')
    .map((dependency) => /^[a-z0-9][a-z0-9+.-]*/.exec(dependency.trim())?.[0])
    .filter((name) => name !== undefined);
