import { closeSync, fstatSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { errnoOf } from '@offshoot/shared/errors.js';

/** A guest can write without end; what is kept of it is at most twice this. */
const ROTATE_AT_BYTES = 16 * 2 ** 20;

/**
 * The workload's output: one file and the one before it (`.1`). Beside it stands (`.start`) at which offset of the
 * workload's output the file begins (negative where it begins with an earlier workload's), so that a new daemon knows where to go on. Writes are small and go to the page cache.
 */
export class WorkloadLog implements Disposable {
  private descriptor: number;
  private start: number;
  private bytes: number;

  private constructor(
    private readonly path: string,
    startOf: (bytes: number) => number,
  ) {
    this.descriptor = openSync(path, 'a', 0o600);
    this.bytes = fstatSync(this.descriptor).size;
    this.start = startOf(this.bytes);
    writeFileSync(`${path}.start`, String(this.start), { mode: 0o600 });
  }

  /** @param start offset of the first byte to come, for a log that does not exist yet */
  static goOn(path: string, start: number): WorkloadLog {
    return new WorkloadLog(path, () => readStart(`${path}.start`) ?? start);
  }

  /**
   * A workload begins, or goes on from a moment that is past: what it says is added to what the log has, and counted from
   * `offset`.
   */
  static beginAt(path: string, offset: number): WorkloadLog {
    return new WorkloadLog(path, (bytes) => offset - bytes);
  }

  /** Offset of the next byte. */
  get offset(): number {
    return this.start + this.bytes;
  }

  /** @param offset of the first byte of `data`; beyond {@link offset} when the agent had to drop some */
  append(offset: number, data: Buffer): void {
    if (this.descriptor < 0) return;
    const fresh = data.subarray(Math.max(0, this.offset - offset));
    if (fresh.length === 0) return;
    if (this.bytes >= ROTATE_AT_BYTES || offset > this.offset) this.rotate(Math.max(offset, this.offset));
    writeSync(this.descriptor, fresh);
    this.bytes += fresh.length;
  }

  [Symbol.dispose](): void {
    if (this.descriptor >= 0) closeSync(this.descriptor);
    this.descriptor = -1;
  }

  private rotate(start: number): void {
    closeSync(this.descriptor);
    renameSync(this.path, `${this.path}.1`);
    writeFileSync(`${this.path}.start`, String(start), { mode: 0o600 });
    this.descriptor = openSync(this.path, 'a', 0o600);
    this.start = start;
    this.bytes = 0;
  }
}

function readStart(path: string): number | undefined {
  try {
    const start = Number(readFileSync(path, 'utf8'));
    return Number.isSafeInteger(start) ? start : undefined;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
