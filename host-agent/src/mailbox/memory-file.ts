import { open, stat, type FileHandle } from 'node:fs/promises';
import { Corrupt, NotFound, errnoOf } from '@offshoot/shared/errors.js';
import { FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import { parseFrameHeader, type FrameHeader } from '@offshoot/shared/mailbox/frame.js';
import type { FileStamp, MemoryRegion } from '../domain/instance.js';

/** Fills `buffer` from `position`. @throws Corrupt when the file ends before */
export async function readFully(file: FileHandle, buffer: Buffer, position: number): Promise<void> {
  for (let done = 0; done < buffer.length;) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, position + done);
    if (bytesRead === 0)
      throw new Corrupt(`memory file ends at ${String(position + done)}, inside a region`, {
        reason: 'MEMORY_FILE_TRUNCATED',
      });
    done += bytesRead;
  }
}

/** @throws Corrupt when the file ends inside a region: what is missing would otherwise pass for a hole */
export async function checkLength(file: FileHandle, regions: readonly MemoryRegion[]): Promise<void> {
  const { size } = await file.stat();
  const needed = Math.max(0, ...regions.map((region) => region.fileOffset + region.size));
  if (size < needed)
    throw new Corrupt(`the memory file has ${String(size)} bytes, its regions need ${String(needed)}`, {
      reason: 'MEMORY_FILE_TRUNCATED',
    });
}

/** @throws Corrupt unless the file is the one the capture was stamped with, NotFound when it is gone */
export async function checkStamp(path: string, expected: FileStamp): Promise<void> {
  const { size, mtimeNs, ino } = await stat(path, { bigint: true }).catch((cause: unknown) => {
    if (errnoOf(cause) !== 'ENOENT') throw cause;
    throw new NotFound('the memory file of the capture is gone', { reason: 'MEMORY_FILE_MISSING', cause });
  });
  if (Number(size) !== expected.size || String(mtimeNs) !== expected.mtimeNs || String(ino) !== expected.inode)
    throw new Corrupt('the memory file is not the one that was captured', { reason: 'MEMORY_FILE_CHANGED' });
}

/** A valid frame, with its token. */
export interface FrameAt {
  readonly gpa: number;
  readonly header: FrameHeader;
}

/** The frames that stand at these addresses; an address without a valid frame, or outside RAM, yields none. */
export async function readFramesAt(
  path: string,
  regions: readonly MemoryRegion[],
  addresses: readonly number[],
): Promise<FrameAt[]> {
  if (addresses.length === 0) return [];
  const file = await open(path, 'r');
  try {
    const frames: FrameAt[] = [];
    const page = Buffer.alloc(FRAME_SIZE);
    for (const gpa of addresses) {
      const region = regions.find((r) => gpa >= r.gpa && gpa + FRAME_SIZE <= r.gpa + r.size);
      if (region === undefined || gpa % FRAME_SIZE !== 0) continue;
      await readFully(file, page, region.fileOffset + (gpa - region.gpa));
      const parse = parseFrameHeader(page);
      if (parse.ok) frames.push({ gpa, header: parse.header });
    }
    return frames;
  } finally {
    await file.close();
  }
}
