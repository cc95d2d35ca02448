import { closeSync, openSync, writeSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Corrupt } from '@offshoot/shared/errors.js';
import { mappingsOf, processInaccessible, type FileIdentity, type FileMapping } from './file-mappings.js';
import { MAX_STRETCHES, STRETCH_BYTES, readProcess } from './libc.js';
import { PAGE_BYTES, privateRuns, short, type PrivateRun } from './private-runs.js';

/** As much as one call reads when every page stands alone. */
const CHUNK_BYTES = MAX_STRETCHES * PAGE_BYTES;
/** Most that is held in memory, 128 MiB; what is more is written while the VM stands still. */
const MAX_CHUNKS = 32;
/** Calls under way at once; more would take processors from the VMM, which saves its state meanwhile. */
const READERS = 2;

interface Chunk {
  readonly bytes: Buffer;
  /** One after the other in {@link bytes}. */
  runs: readonly PrivateRun[];
}

/**
 * The pages a process has changed in its private mapping of a base, on their way into a copy of that base. Read while the
 * process stands still, written afterwards, which takes longer.
 */
export class PrivatePages implements Disposable {
  private readonly free: Chunk[] = [];
  private read: Chunk[] = [];

  private constructor(
    private readonly pid: number,
    private readonly mappings: readonly FileMapping[],
    private readonly pagemap: number,
    private readonly output: number,
  ) {}

  /**
   * Opens everything and makes room for the pages there are now and some more, so that the pause does not pay for it.
   * @throws Unreachable when the process is gone or may not be looked into; Corrupt when it does not map the base
   */
  static async of(pid: number, base: FileIdentity, copyOfBase: string): Promise<PrivatePages> {
    const mappings = await mappingsOf(pid, base);
    if (mappings.length === 0)
      throw new Corrupt(`process ${String(pid)} does not map its memory file`, { reason: 'MEMORY_NOT_MAPPED' });
    const pagemap = openPagemap(pid);
    try {
      const pages = new PrivatePages(pid, mappings, pagemap, openSync(copyOfBase, 'r+'));
      pages.makeRoom();
      return pages;
    } catch (error) {
      closeSync(pagemap);
      throw error;
    }
  }

  /** Reads them all. The process must not run meanwhile. @returns how many; @throws Corrupt when one cannot be read whole */
  async stage(signal?: AbortSignal): Promise<number> {
    const chunks = chunked(this.mappings.flatMap((mapping) => [...privateRuns(this.pagemap, mapping)]));
    let bytes = 0;
    for (let next = 0; next < chunks.length;) {
      if (this.read.length === MAX_CHUNKS) await this.write();
      const batch = chunks.slice(next, next + READERS);
      next += batch.length;
      const done = await Promise.all(batch.map((runs) => this.readChunk(runs)));
      bytes += done.reduce((sum, length) => sum + length, 0);
      signal?.throwIfAborted();
    }
    return bytes / PAGE_BYTES;
  }

  /** Writes what was read over the same places of the copy. */
  async write(): Promise<void> {
    for (let chunk = this.read.pop(); chunk !== undefined; chunk = this.read.pop()) {
      let at = 0;
      for (const { size, fileOffset } of chunk.runs) {
        for (let done = 0; done < size;)
          done += writeSync(this.output, chunk.bytes, at + done, size - done, fileOffset + done);
        at += size;
      }
      this.free.push(chunk);
      await nextTurn(); // a chunk of scattered pages takes some milliseconds
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.pagemap);
    closeSync(this.output);
  }

  private makeRoom(): void {
    let bytes = 0;
    for (const mapping of this.mappings) for (const { size } of privateRuns(this.pagemap, mapping)) bytes += size;
    const chunks = Math.min(MAX_CHUNKS, Math.ceil((bytes * 1.25) / CHUNK_BYTES) + 1);
    // Filled, because memory that was never touched costs a fault for each of its pages.
    while (this.free.length < chunks) this.free.push({ bytes: Buffer.alloc(CHUNK_BYTES, 1), runs: [] });
  }

  private async readChunk(runs: readonly PrivateRun[]): Promise<number> {
    const chunk = this.free.pop() ?? { bytes: Buffer.allocUnsafeSlow(CHUNK_BYTES), runs: [] };
    const stretches = Buffer.alloc(runs.length * STRETCH_BYTES);
    let length = 0;
    for (const [index, { address, size }] of runs.entries()) {
      stretches.writeBigUInt64LE(BigInt(address), index * STRETCH_BYTES);
      stretches.writeBigUInt64LE(BigInt(size), index * STRETCH_BYTES + 8);
      length += size;
    }
    let read: number;
    try {
      read = await readProcess(this.pid, chunk.bytes.subarray(0, length), stretches);
    } catch (error) {
      throw processInaccessible(this.pid, 'mem', error);
    }
    if (read !== length) throw short('memory', runs[0]?.address ?? 0, read, length);
    this.read.push({ ...chunk, runs });
    return length;
  }
}

/** Whether a process has changed anything in its private mapping of a file. */
export async function hasPrivatePages(pid: number, file: FileIdentity): Promise<boolean> {
  const mappings = await mappingsOf(pid, file);
  const pagemap = openPagemap(pid);
  try {
    return mappings.some((mapping) => privateRuns(pagemap, mapping).next().done !== true);
  } finally {
    closeSync(pagemap);
  }
}

function openPagemap(pid: number): number {
  try {
    return openSync(`/proc/${String(pid)}/pagemap`, 'r');
  } catch (error) {
    throw processInaccessible(pid, 'pagemap', error);
  }
}

/** Runs in groups that one call reads and one chunk holds; a long one is cut. */
function chunked(runs: Iterable<PrivateRun>): PrivateRun[][] {
  const chunks: PrivateRun[][] = [];
  let current: PrivateRun[] = [];
  let room = 0;
  for (const { address, size, fileOffset } of runs)
    for (let done = 0; done < size;) {
      if (room === 0 || current.length === MAX_STRETCHES) {
        chunks.push((current = []));
        room = CHUNK_BYTES;
      }
      const length = Math.min(room, size - done);
      current.push({ address: address + done, size: length, fileOffset: fileOffset + done });
      room -= length;
      done += length;
    }
  return chunks;
}
