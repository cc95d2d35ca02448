import { messageOf } from '@offshoot/shared/errors.js';

/** Those who wait for the same thing; they look whenever it may have changed. */
export class Waiters {
  private readonly looks = new Set<() => void>();

  /** Has everybody look. */
  wake(): void {
    for (const look of [...this.looks]) look();
  }

  /**
   * Resolves with what `probe` finds, at once when that is there already. Rejects with what it throws, and with `tooLate`
   * when the signal ends first.
   */
  until<T>(probe: () => T | undefined, signal: AbortSignal, tooLate: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.looks.delete(look);
        signal.removeEventListener('abort', look);
        act();
      };
      const look = (): void => {
        let found;
        try {
          found = probe();
          if (found === undefined && signal.aborted) throw tooLate();
        } catch (error) {
          settle(() => {
            reject(error instanceof Error ? error : new Error(messageOf(error)));
          });
          return;
        }
        if (found === undefined) return;
        const value = found;
        settle(() => {
          resolve(value);
        });
      };
      this.looks.add(look);
      signal.addEventListener('abort', look);
      look();
    });
  }
}
