/**
 * What the standing calls of the present session listen to. When the host begins another session they hear no more: nobody
 * would hear them, and in a fork that just woke each word of theirs costs tens of milliseconds under emulation.
 */
export class StandingCalls {
  private readonly subscriptions = new Set<() => void>();

  /** @param end ends a subscription; harmless when called twice. Returns what ends it by itself, when its call is over. */
  add(end: () => void): () => void {
    this.subscriptions.add(end);
    return () => {
      this.subscriptions.delete(end);
      end();
    };
  }

  endAll(): void {
    for (const end of this.subscriptions) end();
    this.subscriptions.clear();
  }
}
