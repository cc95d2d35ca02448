/** A look at what is there that is taken once, for all who ask. One that whoever asked first cancelled did not count. */
export class SharedLook<T> {
  private looking: { readonly by: AbortSignal | undefined; readonly found: Promise<T> } | undefined;

  constructor(private readonly look: (signal?: AbortSignal) => Promise<T>) {}

  /** @throws what the look threw, which the next one tries again */
  async get(signal?: AbortSignal): Promise<T> {
    this.looking ??= { by: signal, found: this.look(signal) };
    const { looking } = this;
    try {
      return await looking.found;
    } catch (error) {
      if (this.looking === looking) this.looking = undefined;
      signal?.throwIfAborted();
      if (looking.by?.aborted === true) return this.get(signal);
      throw error;
    }
  }
}
