/** What of an image counts when room is to be made. */
export interface Evictable {
  readonly id: string;
  /** ISO 8601; when an instance was last created from it, or else when it was made. */
  readonly lastUse: string;
  /** Bytes on the disk, by inode: images share kernels by hard links. */
  readonly files: ReadonlyMap<string, number>;
}

/** What images take together, each file counted once. */
export const takenBy = (images: readonly Evictable[]): number =>
  [...new Map(images.flatMap(({ files }) => [...files])).values()].reduce((sum, bytes) => sum + bytes, 0);

/** The order in which images go: the one whose last use is longest ago first. */
export const inEvictionOrder = <Image extends Evictable>(images: readonly Image[]): Image[] =>
  [...images].sort((one, other) => one.lastUse.localeCompare(other.lastUse));
