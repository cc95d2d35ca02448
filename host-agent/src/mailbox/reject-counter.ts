import type { Logger } from 'pino';

/** Counts what was dropped, by reason, and logs the 1st, 10th, 100th ... of each: a flood costs neither memory nor disk. */
export class RejectCounter {
  private readonly byReason = new Map<string, number>();

  constructor(
    private readonly logger: Logger,
    private readonly what: string,
  ) {}

  get counts(): ReadonlyMap<string, number> {
    return this.byReason;
  }

  /** @param reason one of a fixed set, never text from outside */
  count(reason: string): void {
    const count = (this.byReason.get(reason) ?? 0) + 1;
    this.byReason.set(reason, count);
    if (/^10*$/.test(String(count))) this.logger.warn({ reason, count }, `dropped ${this.what}`);
  }
}
