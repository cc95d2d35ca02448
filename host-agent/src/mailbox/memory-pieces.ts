import { FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import type { MemoryRegion } from '../domain/instance.js';
import { SEEK_DATA, SEEK_HOLE, seekExtent } from '../os/libc.js';

/** A stretch of a memory file to be read in one go, whole pages. */
export interface MemoryPiece {
  readonly fileOffset: number;
  readonly length: number;
  /** Guest-physical address of its first byte. */
  readonly gpa: number;
}

/**
 * Holes shorter than this are read with what surrounds them: the kernel fills in zeros faster than a system call to
 * step over them and another read take. Bounds the work for a file that alternates data and holes page by page.
 */
const SMALLEST_HOLE = 256 * 1024;

const alignDown = (offset: number): number => offset - (offset % FRAME_SIZE);
const alignUp = (offset: number): number => alignDown(offset + FRAME_SIZE - 1);

/**
 * The data of a memory file's regions, in pieces of at most `pieceBytes`. Lazy, so that the few microseconds a seek
 * takes are spread over the reads. A file system without SEEK_DATA reports one extent: then everything is read.
 */
export function* memoryPieces(
  fd: number,
  regions: readonly MemoryRegion[],
  pieceBytes: number,
): Generator<MemoryPiece> {
  for (const region of regions) {
    const end = region.fileOffset + region.size;
    const holeAfter = (offset: number): number => Math.min(alignUp(seekExtent(fd, offset, SEEK_HOLE) ?? end), end);
    let position = region.fileOffset;
    for (;;) {
      const data = position < end ? seekExtent(fd, position, SEEK_DATA) : undefined;
      if (data === undefined || data >= end) break;
      const start = Math.max(alignDown(data), position);
      let stop = holeAfter(data);
      while (stop < end && stop - start < pieceBytes) {
        const next = seekExtent(fd, stop, SEEK_DATA);
        if (next === undefined || next >= end || next - stop >= SMALLEST_HOLE) break;
        stop = holeAfter(next);
      }
      for (let at = start; at < stop; at += pieceBytes)
        yield { fileOffset: at, length: Math.min(pieceBytes, stop - at), gpa: region.gpa + (at - region.fileOffset) };
      position = stop;
    }
  }
}
