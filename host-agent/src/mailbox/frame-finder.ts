import { open, type FileHandle } from 'node:fs/promises';
import { Aborted, Corrupt } from '@offshoot/shared/errors.js';
import { FRAME_MAGIC, FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import { hasFrameMagic, parseFrameHeader, type FrameProblem } from '@offshoot/shared/mailbox/frame.js';
import type { MemoryRegion } from '../domain/instance.js';
import { awaitAll } from './await-all.js';
import { locatedFrame, type LocatedFrame } from './located-frame.js';
import { memoryPieces, type MemoryPiece } from './memory-pieces.js';
import { checkLength, readFully } from './memory-file.js';

/** What a scan found. */
export interface FrameScan {
  /** By ascending address. */
  readonly frames: readonly LocatedFrame[];
  /** Pages that begin with the magic and are no frame, by {@link FrameProblem}. */
  readonly invalid: Readonly<Record<string, number>>;
  /** The scan ended at {@link MAX_FRAMES}: there may be more. */
  readonly limitReached: boolean;
  /** Bytes read; holes are not. */
  readonly bytesRead: number;
}

/** 64 mailboxes of 64 segments: more than this is a guest that fills its memory with frames. */
export const MAX_FRAMES = 4096;

/** Large enough that a read costs more than handing it to a thread, small enough to stay in the cache until it is searched. */
const PIECE_BYTES = 1024 * 1024;

/** Reads in flight: one is searched while the other is filled. */
const READERS = 2;

/** The magic's first four bytes as they stand in a little-endian word. */
const MAGIC_WORD = FRAME_MAGIC.readUInt32LE(0);

/**
 * Finds the frames in the data of a memory file. Looks at the first word of each page instead of searching every byte,
 * because a frame begins a page; the cost is then that of reading the file.
 * @throws Corrupt when the file is shorter than its regions or a region is not page-aligned, Aborted when the signal ends first
 */
export async function scanMemoryFile(
  path: string,
  regions: readonly MemoryRegion[],
  signal?: AbortSignal,
): Promise<FrameScan> {
  for (const { gpa, size, fileOffset } of regions)
    if ([gpa, size, fileOffset].some((value) => value % FRAME_SIZE !== 0))
      throw new Corrupt(`memory region at ${String(gpa)} is not page-aligned`, { reason: 'MEMORY_REGION_UNALIGNED' });
  const file = await open(path, 'r');
  try {
    await checkLength(file, regions);
    return await scan(file, regions, signal);
  } finally {
    await file.close();
  }
}

async function scan(file: FileHandle, regions: readonly MemoryRegion[], signal?: AbortSignal): Promise<FrameScan> {
  const found = new FoundFrames();
  const pieces = memoryPieces(file.fd, regions, PIECE_BYTES);
  // The readers share one generator: each takes the next piece, and leaving the loop ends it for all.
  const reader = async (): Promise<void> => {
    const buffer = Buffer.alloc(PIECE_BYTES);
    for (const piece of pieces) {
      if (signal?.aborted === true)
        throw new Aborted('the search for mailboxes was cancelled', { reason: 'CANCELLED', cause: signal.reason });
      const bytes = buffer.subarray(0, piece.length);
      await readFully(file, bytes, piece.fileOffset);
      found.takeFrom(bytes, piece);
      if (found.limitReached) return;
    }
  };
  await awaitAll(Array.from({ length: READERS }, reader));
  return found.result();
}

class FoundFrames {
  limitReached = false;
  private readonly frames: LocatedFrame[] = [];
  private readonly invalid = new Map<FrameProblem, number>();
  private bytesRead = 0;

  takeFrom(bytes: Buffer, piece: MemoryPiece): void {
    this.bytesRead += bytes.length;
    for (let at = 0; at < bytes.length; at += FRAME_SIZE) {
      if (bytes.readUInt32LE(at) !== MAGIC_WORD) continue;
      const page = bytes.subarray(at, at + FRAME_SIZE);
      if (!hasFrameMagic(page)) continue;
      const parse = parseFrameHeader(page);
      if (!parse.ok) {
        this.invalid.set(parse.problem, (this.invalid.get(parse.problem) ?? 0) + 1);
        continue;
      }
      if (this.frames.length >= MAX_FRAMES) {
        this.limitReached = true;
        return;
      }
      this.frames.push(locatedFrame(parse.header, piece.gpa + at));
    }
  }

  result(): FrameScan {
    return {
      frames: this.frames.toSorted((a, b) => a.gpa - b.gpa),
      invalid: Object.fromEntries(this.invalid),
      limitReached: this.limitReached,
      bytesRead: this.bytesRead,
    };
  }
}
