/** The root disks of instances. */
export interface DiskStorage {
  /** A fresh writable disk over a read-only image. Writes nothing of the image's size. */
  create(imageDisk: string, destination: string, signal?: AbortSignal): Promise<void>;
  /** A copy of a disk nobody writes to: reflink, else only the extents that hold data, never dense. */
  clone(source: string, destination: string, signal?: AbortSignal): Promise<void>;
}
