/** An inode as debugfs's `stat` shows it. */
export interface DebugfsInode {
  /** Its words: `regular`, `directory`, `symlink`, `character special`, `block special`, `FIFO`. */
  readonly type: string;
  /** Permission bits and set-user-id, set-group-id, sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  readonly links: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** `MAJOR:MINOR`, of devices. */
  readonly device: string | undefined;
}

/** Undefined for an answer that shows none. */
export function parseInode(answer: string): DebugfsInode | undefined {
  const head = /^Inode: \d+ +Type: (.+?) +Mode: +(\d+) /m.exec(answer);
  const owner = /^User: +(-?\d+) +Group: +(-?\d+) .*Size: (\d+)$/m.exec(answer);
  const links = /^Links: (\d+)/m.exec(answer);
  const mtime = /^ ?mtime: 0x([0-9a-f]{8})(?::([0-9a-f]{8}))? /m.exec(answer);
  if (head === null || owner === null || links === null || mtime === null) return undefined;
  return {
    type: head[1] ?? '',
    mode: parseInt(head[2] ?? '', 8),
    // Shown as signed.
    uid: Number(owner[1]) >>> 0,
    gid: Number(owner[2]) >>> 0,
    size: Number(owner[3]),
    links: Number(links[1]),
    mtime: secondsOf(mtime[1] ?? '', mtime[2] ?? '0'),
    device: /Device major\/minor number: (\d+:\d+)/.exec(answer)?.[1]?.replace(/0*(\d+):0*(\d+)/, '$1:$2'),
  };
}

/** Signed 32 bits and, in the lowest two of the further ones, how often 2^32 is to be added (ext4(5), inode timestamps). */
const secondsOf = (low: string, further: string): number =>
  (parseInt(low, 16) | 0) + (parseInt(further, 16) & 3) * 2 ** 32;
