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

/** Who has disks on an image: nobody, where all are empty. */
export interface ImageUsers {
  /** Names, of this daemon's. */
  readonly instances: readonly string[];
  readonly snapshots: readonly string[];
  /** State directories of other daemons that share the images. */
  readonly daemons: readonly string[];
}

/** What an image costs, and whether it is needed. */
export interface ImageUsage {
  readonly users: ImageUsers;
  /** When an instance was last created from it, by whichever daemon; ISO 8601. Undefined: never. */
  readonly lastUse: string | undefined;
  /** What its files take, kernels included. Those of other images may be the same files. */
  readonly allocatedBytes: number;
}

export interface ImageStore {
  /**
   * Builds the image, or finds it built, and then makes room where images take more than they may. Concurrent imports of one
   * image are one build.
   * @throws InvalidInput for a source that is unknown or no image
   */
  import(order: ImportOrder, onStep: (step: ImportStep) => void, signal?: AbortSignal): Promise<Image>;
  /** Newest first. */
  list(): Promise<readonly Image[]>;
  /** By id, name, or unambiguous id prefix. @throws NotFound naming what is there */
  resolve(reference: string): Promise<Image>;
  usageOf(image: ImageId): ImageUsage;
  /**
   * Notes that an instance is created from the image, for which there is a row. Synchronous: called right after that was
   * written, so that whoever deletes the image sees the one or the other.
   * @throws NotFound IMAGE_NOT_FOUND when it was deleted meanwhile, Conflict IMAGE_BUSY while it is being deleted
   */
  use(image: ImageId): void;
  /** To be called when an instance or snapshot of the image is no more; somebody else may use it still. Never throws. */
  release(image: ImageId): void;
  /** As {@link resolve}, and an image that cannot be used, by its whole id. */
  resolveToDelete(reference: string): Promise<Pick<Image, 'id' | 'name'>>;
  /** Whether it is, usable or not. One of which that cannot be known is taken to be. */
  isThere(image: ImageId): Promise<boolean>;
  /**
   * Takes an image away that nobody uses, with its name, for good; {@link emptyTrash} then frees its room.
   * @throws NotFound, InvalidState IMAGE_IN_USE naming who uses it, Conflict IMAGE_BUSY while something is made of it
   */
  delete(image: Pick<Image, 'id' | 'name'>): Promise<void>;
  /** What cannot be removed now stays for the next time: never throws. */
  emptyTrash(): Promise<void>;
  /** At the daemon's start, when rows are settled: finishes deletions and undoes imports that were cut short. Never throws. */
  settle(): Promise<void>;
}
