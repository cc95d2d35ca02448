import fc from 'fast-check';

/**
 * Pseudo-random numbers that follow from one drawn by fast-check (mulberry32), for bulk that would cost more to draw value
 * by value than to test: pages of memory, not the structure a counterexample should show.
 */
export class Noise {
  private state: number;

  constructor(readonly seed: number) {
    this.state = seed;
  }

  /** A whole number from 0 to `limit` - 1; `limit` at most 2^32. */
  below(limit: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) * limit) / 2 ** 32);
  }

  /** True once in `times`, on average. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(list: readonly [T, ...T[]]): T {
    return list[this.below(list.length)] ?? list[0];
  }

  u64(): bigint {
    return (BigInt(this.below(2 ** 32)) << 32n) | BigInt(this.below(2 ** 32));
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at++) bytes[at] = this.below(256);
    return bytes;
  }
}

/** Shown in a counterexample by its seed; smaller is not simpler, so it is not shrunk. */
export const noises: fc.Arbitrary<Noise> = fc.noShrink(
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).map((seed) => new Noise(seed)),
);
