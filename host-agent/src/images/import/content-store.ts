import { copyFile, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileHandle } from 'node:fs/promises';
import type { TarEntry } from '../tar/read-tar.js';
import type { ImportBudget } from './import-limits.js';

/** Zeros in pieces of this size become holes. */
const PIECE = 4096;
const ZEROS = Buffer.alloc(PIECE);

/** Contents of an image's files, each in a file with a number for a name, until it is known what of them is needed where. */
export class ContentStore {
  private files = 0;
  private written = 0;

  /** @param folder exists and is empty */
  constructor(
    private readonly folder: string,
    private readonly budget: ImportBudget,
  ) {}

  /** Path for a further file, which does not exist. */
  private next(): string {
    return join(this.folder, String(this.files++));
  }

  /** Keeps an entry's content, holes as holes. Returns its path, and its bytes without the holes. */
  async keep(entry: Pick<TarEntry, 'size' | 'extents' | 'content'>): Promise<{ content: string; bytes: number }> {
    const content = this.next();
    const before = this.written;
    await using file = await open(content, 'wx', 0o600);
    const extents = entry.extents[Symbol.iterator]();
    let extent = extents.next().value;
    let done = 0;
    for await (const chunk of entry.content()) {
      for (let from = 0; from < chunk.length && extent !== undefined;) {
        const length = Math.min(chunk.length - from, extent.length - done);
        await this.write(file, chunk.subarray(from, from + length), extent.offset + done);
        from += length;
        done += length;
        while (done === extent?.length) {
          extent = extents.next().value;
          done = 0;
        }
      }
    }
    await file.truncate(entry.size);
    return { content, bytes: this.written - before };
  }

  /** A copy of a file of this machine. */
  async copy(path: string): Promise<{ content: string; bytes: number }> {
    const { size: bytes } = await stat(path);
    this.take(bytes);
    const content = this.next();
    await copyFile(path, content);
    return { content, bytes };
  }

  private take(bytes: number): void {
    this.written += bytes;
    this.budget.assertRoom(this.written);
  }

  private async write(file: FileHandle, data: Buffer, position: number): Promise<void> {
    for (let from = 0; from < data.length;) {
      const piece = data.subarray(from, from + PIECE);
      if (isZero(piece)) {
        from += piece.length;
        continue;
      }
      // All that follows up to the next piece of zeros goes at once.
      let end = from + piece.length;
      while (end < data.length && !isZero(data.subarray(end, end + PIECE))) end = Math.min(end + PIECE, data.length);
      this.take(end - from);
      for (let at = from; at < end;) at += (await file.write(data, at, end - at, position + at)).bytesWritten;
      from = end;
    }
  }
}

const isZero = (piece: Buffer): boolean => ZEROS.compare(piece, 0, piece.length, 0, piece.length) === 0;
