/** Pauses one after the other, each of which can be cut short. Nothing is kept of those that are over, however many. */
export class InterruptiblePause {
  private end: (() => void) | undefined;

  /** Resolves after the time, or at {@link interrupt}. */
  take(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.end?.(), ms);
      this.end = () => {
        clearTimeout(timer);
        this.end = undefined;
        resolve();
      };
    });
  }

  readonly interrupt = (): void => {
    this.end?.();
  };
}
