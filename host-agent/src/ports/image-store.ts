import type { ImageId } from '../domain/ids.js';

/** Whom a program runs as. */
export interface ImageUser {
  readonly uid: number;
  readonly gid: number;
  /** Further groups. */
  readonly groups: readonly number[];
  /** Its home directory. */
  readonly home: string;
}

/** What an image says of the program to run in it. */
export interface ImageConfig {
  /** Program and first arguments; before {@link command}. */
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly user: ImageUser;
  /** Absolute; is there. */
  readonly workingDirectory: string;
}

/** A bootable root disk with its kernel. Paths are absolute; files are never written again once the image is listed. */
export interface Image {
  readonly id: ImageId;
  readonly name: string;
  readonly kernelRelease: string;
  /** Raw ext4. */
  readonly rootDisk: string;
  /** The kernel as packages have it (bzImage). */
  readonly vmlinuz: string;
  /** The same kernel unpacked (ELF), for VMMs that take no other. */
  readonly vmlinux: string;
  readonly initrd: string;
  /** Kernel parameters the image needs; the driver adds its own. */
  readonly kernelParameters: string;
  /** Of an image that was made elsewhere and says so. */
  readonly config?: ImageConfig;
  readonly diskBytes: number;
  readonly diskAllocatedBytes: number;
  /** ISO 8601. */
  readonly createdAt: string;
}

export interface ImportStep {
  readonly step: string;
  /** From 1. */
  readonly index: number;
  readonly total: number;
}

export interface ImportOrder {
  /** `default`, `docker://REFERENCE`, or an absolute path on this machine. */
  readonly source: string;
  /** Of the image; undefined for the default one, whose name is `default`. */
  readonly name?: string;
}

export interface ImageStore {
  /**
   * Builds the image, or finds it built. Concurrent imports of one image are one build.
   * @throws InvalidInput for a source that is unknown or no image
   */
  import(order: ImportOrder, onStep: (step: ImportStep) => void, signal?: AbortSignal): Promise<Image>;
  /** Newest first. */
  list(): Promise<readonly Image[]>;
  /** By id, name, or unambiguous id prefix. @throws NotFound naming what is there */
  resolve(reference: string): Promise<Image>;
}
