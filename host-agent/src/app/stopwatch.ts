/** Times the phases of an operation, in milliseconds. */
export class Stopwatch {
  private readonly started = performance.now();
  private last = this.started;

  /** Time since the last lap, or since the start. */
  lap(): number {
    const before = this.last;
    this.last = performance.now();
    return this.last - before;
  }

  /** `performance.now()` at the last lap. */
  get now(): number {
    return this.last;
  }

  get total(): number {
    return performance.now() - this.started;
  }
}
