import { closeSync, openSync, readSync } from 'node:fs';

const PAGE_SIZE = 4096n;
const ENTRY_BYTES = 8;
/** Bits of an entry of /proc/PID/pagemap: 0-54 page frame number, 63 page present (Documentation/admin-guide/mm/pagemap). */
const FRAME_NUMBER = (1n << 55n) - 1n;
const PRESENT = 1n << 63n;

/**
 * Guest-physical address of a page of this process; undefined when the kernel does not tell (without CAP_SYS_ADMIN the
 * frame number reads as 0) or the page is not in memory. Good for as long as the kernel does not move the page.
 */
export function physicalAddressOf(virtual: bigint): bigint | undefined {
  const entry = Buffer.alloc(ENTRY_BYTES);
  const fd = openSync('/proc/self/pagemap', 'r');
  try {
    if (readSync(fd, entry, 0, ENTRY_BYTES, (virtual / PAGE_SIZE) * BigInt(ENTRY_BYTES)) < ENTRY_BYTES)
      return undefined;
  } finally {
    closeSync(fd);
  }
  const value = entry.readBigUInt64LE();
  const frame = value & FRAME_NUMBER;
  return (value & PRESENT) === 0n || frame === 0n ? undefined : frame * PAGE_SIZE;
}
