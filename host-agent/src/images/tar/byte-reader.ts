/** A stream read in pieces of the reader's choice. */
export class ByteReader {
  private readonly chunks: AsyncIterator<Buffer>;
  private held: Buffer = EMPTY;
  private taken = 0;

  constructor(source: AsyncIterable<Buffer>) {
    this.chunks = source[Symbol.asyncIterator]();
  }

  /** Bytes read so far. */
  get position(): number {
    return this.taken;
  }

  /** Exactly so many bytes, or fewer at the end of the stream. */
  async read(length: number): Promise<Buffer> {
    if (this.held.length >= length) return this.consume(length);
    const parts: Buffer[] = [];
    for (let missing = length; missing > 0;) {
      if (this.held.length === 0 && !(await this.fill())) break;
      const part = this.consume(Math.min(missing, this.held.length));
      parts.push(part);
      missing -= part.length;
    }
    return Buffer.concat(parts);
  }

  /** The next bytes as they come; ends early only with the stream. */
  async *stream(length: number): AsyncGenerator<Buffer, void, undefined> {
    for (let missing = length; missing > 0;) {
      if (this.held.length === 0 && !(await this.fill())) return;
      const part = this.consume(Math.min(missing, this.held.length));
      missing -= part.length;
      yield part;
    }
  }

  private consume(length: number): Buffer {
    const part = this.held.subarray(0, length);
    this.held = this.held.subarray(length);
    this.taken += length;
    return part;
  }

  private async fill(): Promise<boolean> {
    const next = await this.chunks.next();
    if (next.done === true) return false;
    this.held = next.value;
    return true;
  }
}

const EMPTY = Buffer.alloc(0);
