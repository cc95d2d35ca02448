import { readSync } from 'node:fs';
import { Corrupt, errnoOf } from '@offshoot/shared/errors.js';
import type { FileMapping } from './file-mappings.js';
import { PAGE_REGION_BYTES, scanOwnPages } from './libc.js';

/** The smallest page of every architecture QEMU and Linux share here; pagemap has one entry for each. */
export const PAGE_BYTES = 4096;
/** Size of a pagemap entry, little-endian (Documentation/admin-guide/mm/pagemap.rst). */
const ENTRY_BYTES = 8;
/** Upper half of an entry: bit 63 page present, 62 swapped, 61 file page or shared anonymous. */
const PRESENT_OR_SWAPPED = 0xc000_0000;
const FILE_PAGE = 0x2000_0000;
/** Entries looked at in one go: 256 MiB of memory. */
const ENTRIES_PER_READ = 65_536;
const REGIONS_PER_SCAN = 4096;

/** A stretch of a process's memory and where its base has it. Bytes throughout. */
export interface PrivateRun {
  readonly address: number;
  readonly size: number;
  readonly fileOffset: number;
}

/**
 * The pages of a private mapping that are the process's own, in order: what it has changed, swapped out or not.
 * @param pagemap descriptor of /proc/PID/pagemap
 */
export function* privateRuns(pagemap: number, mapping: FileMapping): Generator<PrivateRun> {
  let scanned: PrivateRun[] | undefined;
  try {
    scanned = scannedRuns(pagemap, mapping);
  } catch (error) {
    if (!NO_SCAN.has(errnoOf(error) ?? '')) throw error;
  }
  yield* scanned ?? listedRuns(pagemap, mapping);
}

/** What a kernel before 6.7 answers to PAGEMAP_SCAN. */
const NO_SCAN = new Set(['ENOTTY', 'EINVAL']);

/** The kernel looks for them: 0.1 ms in an idle clone of 2 GiB, whose list of 4 MiB takes 3.4 to 8 ms to read (Linux 6.18). */
function scannedRuns(pagemap: number, mapping: FileMapping): PrivateRun[] {
  const regions = Buffer.allocUnsafe(REGIONS_PER_SCAN * PAGE_REGION_BYTES);
  const runs: PrivateRun[] = [];
  const end = mapping.address + mapping.size;
  for (let at = mapping.address, count = REGIONS_PER_SCAN; at < end && count === REGIONS_PER_SCAN;) {
    count = scanOwnPages(pagemap, at, end, regions);
    for (let i = 0; i < count; i++) {
      const start = addressAt(regions, i * PAGE_REGION_BYTES);
      at = addressAt(regions, i * PAGE_REGION_BYTES + 8);
      runs.push({ address: start, size: at - start, fileOffset: mapping.fileOffset + start - mapping.address });
    }
  }
  return runs;
}

/** User addresses have at most 47 bits, which a double holds. */
const addressAt = (bytes: Buffer, offset: number): number =>
  bytes.readUInt32LE(offset) + bytes.readUInt32LE(offset + 4) * 2 ** 32;

/** The way of older kernels, for {@link privateRuns} and its tests. */
export function* listedRuns(pagemap: number, mapping: FileMapping): Generator<PrivateRun> {
  const pages = mapping.size / PAGE_BYTES;
  let runStart: number | undefined;
  const run = (end: number): PrivateRun[] => {
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

export const short = (what: string, position: number, read: number, wanted: number): Corrupt =>
  new Corrupt(`${what} of a VMM at ${String(position)}: ${String(read)} of ${String(wanted)} bytes`, {
    reason: 'MEMORY_ACCESS_SHORT',
  });
