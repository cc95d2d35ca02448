import { closeSync, openSync, readSync } from 'node:fs';
import { InvalidInput, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import { PageMap } from './page-map.js';

/**
 * The memory of another process of this guest. What is held open belongs to the memory the process had when it was opened:
 * when it has ended, or runs another program, there is nothing more to read, whoever has its pid then.
 */
export class ProcessMemory implements Disposable {
  private constructor(
    private readonly descriptor: number,
    private readonly pageMap: PageMap,
  ) {}

  /** @throws InvalidInput when there is no such process or it cannot be looked into */
  static open(pid: number): ProcessMemory {
    let descriptor;
    try {
      descriptor = openSync(`/proc/${String(pid)}/mem`, 'r');
      return new ProcessMemory(descriptor, PageMap.open(pid));
    } catch (error) {
      if (descriptor !== undefined) closeSync(descriptor);
      // ESRCH: one without memory, a thread of the kernel or a process that is ending.
      const absent = ['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '');
      throw InvalidInput.field('pid', `cannot be looked into: ${absent ? 'no such process' : messageOf(error)}`);
    }
  }

  /**
   * Fills `into` with what stands at an address, within one page. False when that page is not there, or not in memory: one
   * that had to be brought in first could make this process wait for whoever provides it (userfaultfd, FUSE).
   */
  read(address: bigint, into: Buffer): boolean {
    if (!this.pageMap.isPresent(address)) return false;
    try {
      return readSync(this.descriptor, into, 0, into.length, address) === into.length;
    } catch {
      return false; // EIO: unmapped since
    }
  }

  /** Guest-physical address of a page, looked up now; undefined when it is not in memory or the kernel does not tell. */
  physicalAddress(address: bigint): bigint | undefined {
    return this.pageMap.physicalAddress(address);
  }

  [Symbol.dispose](): void {
    closeSync(this.descriptor);
    this.pageMap[Symbol.dispose]();
  }
}
