import type { ImageId } from '../domain/ids.js';

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

export interface ImageStore {
  /** Builds the image, or finds it built. Concurrent imports of one image are one build. @throws InvalidInput for an unknown source */
  import(source: string, onStep: (step: ImportStep) => void, signal?: AbortSignal): Promise<Image>;
  /** Newest first. */
  list(): Promise<readonly Image[]>;
  /** By id, name, or unambiguous id prefix. @throws NotFound naming what is there */
  resolve(reference: string): Promise<Image>;
}
