import { asCapacityIfFull } from '../os/disk-space.js';

/** The operations under way. Each ends when its caller goes away or the daemon stops, and is waited for then: it undoes. */
export class UnderWay {
  private readonly operations = new Set<Promise<unknown>>();
  private readonly closing = new AbortController();

  /** The caller's signal, ended by the daemon's stop as well. */
  signalFor(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.closing.signal]);
  }

  async run<Result>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const operation = work(this.signalFor(signal));
    this.operations.add(operation);
    try {
      return await operation;
    } catch (error) {
      throw asCapacityIfFull(error);
    } finally {
      this.operations.delete(operation);
    }
  }

  /** The same for one whose results come one by one; over when the iteration is left. */
  async *stream<Result>(
    signal: AbortSignal,
    work: (signal: AbortSignal) => AsyncIterable<Result>,
  ): AsyncGenerator<Result, void, undefined> {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.operations.add(ended);
    try {
      yield* work(this.signalFor(signal));
    } catch (error) {
      throw asCapacityIfFull(error);
    } finally {
      this.operations.delete(ended);
      end();
    }
  }

  /** Cancels all and waits for their undoing. */
  async close(): Promise<void> {
    this.closing.abort(new Error('the daemon is stopping'));
    await Promise.allSettled(this.operations);
  }
}
