/** A task as its starter sees it. */
export type TaskBody<Progress, Result> = (report: (progress: Progress) => void, signal: AbortSignal) => Promise<Result>;

/**
 * One piece of work that several callers wait for. A caller that gives up leaves the others alone; when the last one
 * does, the work is aborted, and that caller hears of it only when everything is undone.
 */
export class SharedTask<Progress, Result> {
  private readonly controller = new AbortController();
  private readonly listeners = new Set<(progress: Progress) => void>();
  private latest: { readonly progress: Progress } | undefined;
  private waiting = 0;
  private readonly result: Promise<Result>;

  constructor(body: TaskBody<Progress, Result>, onSettled: () => void) {
    this.result = body((progress) => {
      this.latest = { progress };
      for (const listener of this.listeners) listener(progress);
    }, this.controller.signal).finally(onSettled);
    // Everybody may have left before it fails.
    this.result.catch(() => undefined);
  }

  /** Aborted by its last caller: whoever comes now needs a new one, after this has settled. */
  get isAborted(): boolean {
    return this.controller.signal.aborted;
  }

  async settled(): Promise<void> {
    await this.result.catch(() => undefined);
  }

  /** @throws whatever the task throws, or the signal's reason */
  async join(onProgress: (progress: Progress) => void, signal: AbortSignal | undefined): Promise<Result> {
    // A function of its own, so that a caller who joins twice is two.
    const listener = (progress: Progress): void => {
      onProgress(progress);
    };
    const left = new AbortController();
    this.listeners.add(listener);
    this.waiting++;
    try {
      if (this.latest !== undefined) listener(this.latest.progress);
      return await (signal === undefined ? this.result : Promise.race([this.result, abortion(signal, left.signal)]));
    } finally {
      left.abort();
      this.listeners.delete(listener);
      this.waiting--;
      if (this.waiting === 0) {
        // Without effect on a task that is done.
        this.controller.abort(signal?.reason);
        await this.settled();
      }
    }
  }
}

/** Rejects with the signal's reason when it fires; listens no longer once `over` does. */
const abortion = (signal: AbortSignal, over: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true, signal: over });
  });
