import { Capacity } from '@offshoot/shared/errors.js';
import { availableMemory } from '../os/available-memory.js';

const MIB = 2 ** 20;

/**
 * What a clone comes to hold of its own: the VMM's heap and translated code, and the guest pages it has changed once it is
 * awake. Measured with QEMU 7.2 under TCG and a 512 MiB guest: 59 to 75 MiB a fork, the most of it after a whole wake. The
 * rest of its RAM is its base's, which all clones of it share.
 */
export const CLONE_MEMORY_BYTES = 75 * MIB;

/** Memory set aside for something under way; disposing of it lets all of it go. */
export interface MemoryBooking extends Disposable {
  /** The part of that index has come to use what was set aside for it, or never will. */
  release(index: number): void;
}

/**
 * Refuses what the host has no memory for, before any work: a VMM that cannot get a page ends in mid-run, and the kernel
 * chooses which. What is under way is booked, so that calls at the same time do not all count on the same memory.
 */
export class MemoryBudget {
  private booked = 0;

  constructor(
    /** Left to everything else on the host. */
    private readonly reserveBytes: number,
    private readonly available: () => number = availableMemory,
  ) {}

  /**
   * @param parts bytes of each part; what needs none is never refused
   * @param what for the message: "booting this instance"
   * @throws Capacity
   */
  book(parts: readonly number[], what: string): MemoryBooking {
    const needed = parts.reduce((sum, part) => sum + part, 0);
    if (needed > 0) this.assertFree(needed, what);
    this.booked += needed;
    const held = [...parts];
    const release = (index: number): void => {
      this.booked -= held[index] ?? 0;
      held[index] = 0;
    };
    return {
      release,
      [Symbol.dispose]: () => {
        for (const index of held.keys()) release(index);
      },
    };
  }

  private assertFree(needed: number, what: string): void {
    const available = this.available();
    const free = Math.max(0, available - this.booked - this.reserveBytes);
    if (needed <= free) return;
    const mebibytes = (bytes: number): string => `${String(Math.floor(bytes / MIB))} MiB`;
    throw new Capacity(
      `${what} needs ${mebibytes(needed)} of memory, and ${mebibytes(free)} are free: of the ${mebibytes(available)} the host has left, ${mebibytes(this.reserveBytes)} are limits.memory_reserve_mib and ${mebibytes(this.booked)} are for what is under way; stop, park or delete instances`,
      {
        reason: 'MEMORY_EXHAUSTED',
        metadata: { needed_bytes: String(needed), free_bytes: String(free), reserve_bytes: String(this.reserveBytes) },
      },
    );
  }
}
