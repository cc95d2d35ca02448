/** Bytes of a block; the oldest block goes when the ring is over its limit. */
const BLOCK_BYTES = 64 * 1024;

/** The last part of a workload's output, addressed by offsets from its first byte. Grows with what is in it. */
export class OutputRing {
  private readonly blocks: Buffer[] = [];
  private readonly listeners = new Set<() => void>();
  private first = 0;
  private last = 0;

  /** @param limit bytes kept at least, once there were as many; a multiple of 64 KiB */
  constructor(private readonly limit = 1024 * 1024) {}

  /** Offset of the oldest byte kept. */
  get start(): number {
    return this.first;
  }

  /** Offset after the newest byte. */
  get end(): number {
    return this.last;
  }

  append(bytes: Buffer): void {
    for (let rest = bytes; rest.length > 0;) {
      const used = this.last % BLOCK_BYTES;
      if (used === 0) this.blocks.push(Buffer.alloc(BLOCK_BYTES));
      const copied = rest.copy(this.blocks.at(-1) ?? Buffer.alloc(0), used);
      this.last += copied;
      rest = rest.subarray(copied);
      if (this.blocks.length * BLOCK_BYTES > this.limit + BLOCK_BYTES) {
        this.blocks.shift();
        this.first += BLOCK_BYTES;
      }
    }
    for (const listener of [...this.listeners]) listener();
  }

  /** Bytes from `offset` on, or from the oldest kept when that is gone; at most `max`, possibly fewer than there are. */
  read(offset: number, max: number): { readonly offset: number; readonly data: Buffer } {
    const from = Math.max(offset, this.first);
    const within = from % BLOCK_BYTES;
    const block = this.blocks[Math.floor((from - this.first) / BLOCK_BYTES)] ?? Buffer.alloc(0);
    const length = Math.min(max, BLOCK_BYTES - within, this.last - from);
    return { offset: from, data: Buffer.from(block.subarray(within, within + length)) };
  }

  /** Calls back after each append until the returned function is called. */
  onAppend(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
