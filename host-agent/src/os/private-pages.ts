import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Corrupt } from '@offshoot/shared/errors.js';
import { mappingsOf, processInaccessible, type FileIdentity, type FileMapping } from './file-mappings.js';

/** The smallest page of every architecture QEMU and Linux share here; pagemap has one entry for each. */
const PAGE_BYTES = 4096;
/** Size of a pagemap entry, little-endian (Documentation/admin-guide/mm/pagemap.rst). */
const ENTRY_BYTES = 8;
/** Upper half of an entry: bit 63 page present, 62 swapped, 61 file page or shared anonymous. */
const PRESENT_OR_SWAPPED = 0xc000_0000;
const FILE_PAGE = 0x2000_0000;
/** Entries looked at in one go: 256 MiB of memory. */
const ENTRIES_PER_READ = 65_536;
/** Longest stretch moved at once. */
const COPY_BYTES = 1024 * 1024;
/** How long other work is kept waiting. */
const SLICE_MS = 5;

/**
 * Writes the pages that process `pid` has changed in its private mapping of `base` over the same places of `destination`,
 * a copy of the base. The process must not run meanwhile. Calls are synchronous, in slices: hundreds of scattered pages of
 * 4 KiB would each pay a round trip through the thread pool, inside the pause.
 * @returns pages written
 * @throws Corrupt when a page cannot be read or written whole
 */
export async function copyPrivatePages(
  pid: number,
  base: FileIdentity,
  destination: string,
  signal?: AbortSignal,
): Promise<number> {
  const mappings = await mappingsOf(pid, base);
  if (mappings.length === 0)
    throw new Corrupt(`process ${String(pid)} does not map its memory file`, { reason: 'MEMORY_NOT_MAPPED' });
  const descriptors: number[] = [];
  const opened = (path: string, flags: string): number => {
    const fd = openSync(path, flags);
    descriptors.push(fd);
    return fd;
  };
  try {
    const pagemap = openOf(pid, 'pagemap', opened);
    const memory = openOf(pid, 'mem', opened);
    const output = opened(destination, 'r+');
    const buffer = Buffer.allocUnsafe(COPY_BYTES);
    let pages = 0;
    let sliceEnd = performance.now() + SLICE_MS;
    for (const mapping of mappings)
      for (const run of privateRuns(pagemap, mapping)) {
        for (let done = 0; done < run.size; done += COPY_BYTES) {
          const length = Math.min(COPY_BYTES, run.size - done);
          copy(memory, run.address + done, output, run.fileOffset + done, buffer.subarray(0, length));
          if (performance.now() > sliceEnd) {
            await nextTurn();
            signal?.throwIfAborted();
            sliceEnd = performance.now() + SLICE_MS;
          }
        }
        pages += run.size / PAGE_BYTES;
      }
    return pages;
  } finally {
    for (const fd of descriptors) closeSync(fd);
  }
}

function openOf(pid: number, what: string, opened: (path: string, flags: string) => number): number {
  try {
    return opened(`/proc/${String(pid)}/${what}`, 'r');
  } catch (error) {
    throw processInaccessible(pid, what, error);
  }
}

/** Runs of private pages of one mapping, in order. */
function* privateRuns(pagemap: number, mapping: FileMapping): Generator<Omit<FileMapping, 'isPrivate'>> {
  const pages = mapping.size / PAGE_BYTES;
  let runStart: number | undefined;
  const run = (end: number): Omit<FileMapping, 'isPrivate'>[] => {
    if (runStart === undefined) return [];
    const start = runStart * PAGE_BYTES;
    runStart = undefined;
    return [
      { address: mapping.address + start, size: end * PAGE_BYTES - start, fileOffset: mapping.fileOffset + start },
    ];
  };
  const entries = Buffer.alloc(ENTRIES_PER_READ * ENTRY_BYTES);
  const halves = new Uint32Array(entries.buffer, entries.byteOffset, ENTRIES_PER_READ * 2);
  for (let first = 0; first < pages; first += ENTRIES_PER_READ) {
    const count = Math.min(ENTRIES_PER_READ, pages - first);
    const position = (mapping.address / PAGE_BYTES + first) * ENTRY_BYTES;
    const read = readSync(pagemap, entries, 0, count * ENTRY_BYTES, position);
    if (read !== count * ENTRY_BYTES) throw short('pagemap', position, read, count * ENTRY_BYTES);
    for (let i = 0; i < count; i++) {
      const upper = halves[2 * i + 1] ?? 0;
      const isPrivate = (upper & PRESENT_OR_SWAPPED) !== 0 && (upper & FILE_PAGE) === 0;
      if (isPrivate) runStart ??= first + i;
      else if (runStart !== undefined) yield* run(first + i);
    }
  }
  yield* run(pages);
}

function copy(memory: number, address: number, output: number, fileOffset: number, bytes: Buffer): void {
  const read = readSync(memory, bytes, 0, bytes.length, address);
  if (read !== bytes.length) throw short('mem', address, read, bytes.length);
  for (let done = 0; done < bytes.length;)
    done += writeSync(output, bytes, done, bytes.length - done, fileOffset + done);
}

const short = (what: string, position: number, read: number, wanted: number): Corrupt =>
  new Corrupt(`/proc/PID/${what} at ${String(position)}: ${String(read)} of ${String(wanted)} bytes`, {
    reason: 'MEMORY_ACCESS_SHORT',
  });
