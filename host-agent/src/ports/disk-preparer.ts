/** A file on an instance's own disk. */
export interface DiskFile {
  /** Absolute, in its normal form, without line breaks. */
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly content: Buffer;
}

export interface DiskOrder {
  /** Whether the disk is larger than its file system, which then fills it. */
  readonly grow: boolean;
  /** Laid on the disk, in place of what is there; missing folders are made, root's and for everybody to read. */
  readonly files: readonly DiskFile[];
}

/** Changes root disks before their first boot, from outside and without being root. */
export interface DiskPreparer {
  /**
   * @param raw file or device that holds the whole disk as raw bytes, which nobody else has open
   * @param scratch a folder for its own files, which are removed again
   * @throws InvalidInput for a file that cannot be where it is to be, Capacity where the disk is too small for the files,
   *   Corrupt when the disk then is not what it should be
   */
  prepare(raw: string, scratch: string, order: DiskOrder, signal?: AbortSignal): Promise<void>;
}
