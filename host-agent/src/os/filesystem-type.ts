import { readFileSync, statfsSync } from 'node:fs';

/**
 * Name of the type of filesystem an open file is on, as in /proc/filesystems (`ext4`, `tmpfs`, ...). By the file's mount,
 * which is exact: the device number of a btrfs or overlay file is in no list of mounts, and ext2, ext3 and ext4 share one
 * magic number. Of a mount that cannot be seen from here (another namespace's), that magic number: `0x` and hexadecimal.
 */
export function filesystemTypeOf(fd: number): string {
  const [, mountId] = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${String(fd)}`, 'latin1')) ?? [];
  // proc_pid_mountinfo(5): the id comes first, the type after the hyphen that ends the optional fields; blanks in paths
  // are escaped.
  for (const line of readFileSync('/proc/self/mountinfo', 'latin1').split('\n')) {
    const [, id, type] = /^(\d+) .* - (\S+) /.exec(line) ?? [];
    if (id !== undefined && id === mountId && type !== undefined) return type;
  }
  return `0x${statfsSync(`/proc/self/fd/${String(fd)}`).type.toString(16)}`;
}
