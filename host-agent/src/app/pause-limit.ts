import { OffshootError, Timeout } from '@offshoot/shared/errors.js';
import type { GoOnStep } from '../domain/operations.js';

/** Steps after which a VM stands still, or is about to: whichever comes first in its driver. */
const BEGINNINGS: readonly GoOnStep[] = ['successor started', 'paused'];
const END: GoOnStep = 'went on';

/** What is worse than a pause that took too long, and is told instead. */
const WORSE: readonly string[] = ['RESUME_FAILED', 'VMM_GONE'];

/** Bounds the time for which a running VM stands still for its capture, whatever its disks or its hypervisor are waiting for. */
export class PauseLimit implements Disposable {
  private readonly abort = new AbortController();
  private timer: NodeJS.Timeout | undefined;
  private over = false;
  /** Ends when the limit is reached. */
  readonly exceeded: AbortSignal = this.abort.signal;
  /** Ends then, or with the caller's. */
  readonly signal: AbortSignal;

  constructor(
    private readonly name: string,
    private readonly limitMs: number,
    caller: AbortSignal,
  ) {
    this.signal = AbortSignal.any([caller, this.exceeded]);
  }

  /** Told each step of the capture. */
  reached(step: GoOnStep): void {
    if (BEGINNINGS.includes(step)) this.begin();
    else if (step === END) this[Symbol.dispose]();
  }

  /** The VM stands still. Counts once. */
  begin(): void {
    if (this.timer !== undefined || this.over) return;
    this.timer = setTimeout(() => {
      const seconds = String(this.limitMs / 1000);
      this.abort.abort(
        new Timeout(
          `${this.name} stood still for its capture for ${seconds} s, as long as limits.pause_seconds allows; it goes on without`,
          { reason: 'PAUSE_LIMIT', metadata: { instance: this.name, limit_seconds: seconds } },
        ),
      );
    }, this.limitMs);
  }

  /** What the caller is told of a capture that failed. */
  explain(error: unknown): unknown {
    const worse = error instanceof OffshootError && WORSE.includes(error.reason);
    return this.exceeded.aborted && !worse ? this.exceeded.reason : error;
  }

  [Symbol.dispose](): void {
    this.over = true;
    clearTimeout(this.timer);
  }
}
