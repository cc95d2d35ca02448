import { closeSync, openSync, readSync } from 'node:fs';

const PAGE_SIZE = 4096n;
const ENTRY_BYTES = 8;
/** Bits of an entry of /proc/PID/pagemap: 0-54 page frame number, 63 page present (Documentation/admin-guide/mm/pagemap). */
const FRAME_NUMBER = (1n << 55n) - 1n;
const PRESENT = 1n << 63n;

/** Where the pages of a process are in the guest's physical memory. */
export class PageMap implements Disposable {
  private static ofThisProcess: PageMap | undefined;
  private readonly entry = Buffer.alloc(ENTRY_BYTES);

  private constructor(private readonly descriptor: number) {}

  /** Opened once: the agent asks for each of its pages whenever it registers them. */
  static get own(): PageMap {
    return (PageMap.ofThisProcess ??= PageMap.open('self'));
  }

  /** Stands for the memory the process has now, whoever has its pid later. @throws the system's error */
  static open(pid: number | 'self'): PageMap {
    return new PageMap(openSync(`/proc/${String(pid)}/pagemap`, 'r'));
  }

  /** Whether the page is in memory: reading it then brings nothing in. */
  isPresent(virtual: bigint): boolean {
    return (this.read(virtual) & PRESENT) !== 0n;
  }

  /**
   * Guest-physical address of a page; undefined when the kernel does not tell (without CAP_SYS_ADMIN the frame number reads
   * as 0) or the page is not in memory. Good for as long as the kernel does not move the page.
   */
  physicalAddress(virtual: bigint): bigint | undefined {
    const value = this.read(virtual);
    const frame = value & FRAME_NUMBER;
    return (value & PRESENT) === 0n || frame === 0n ? undefined : frame * PAGE_SIZE;
  }

  [Symbol.dispose](): void {
    closeSync(this.descriptor);
  }

  /** 0 beyond what a process can have, and when it has ended. */
  private read(virtual: bigint): bigint {
    const at = (virtual / PAGE_SIZE) * BigInt(ENTRY_BYTES);
    const count = readSync(this.descriptor, this.entry, 0, ENTRY_BYTES, at);
    return count < ENTRY_BYTES ? 0n : this.entry.readBigUInt64LE();
  }
}
