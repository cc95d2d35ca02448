import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  openSync,
  readSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Corrupt, InvalidState, errnoOf } from '@offshoot/shared/errors.js';
import { SEEK_DATA, SEEK_HOLE, copyFileRange, seekExtent } from './libc.js';

/** What a filesystem without reflinks, or a copy across filesystems, answers to FICLONE. */
const NO_REFLINK = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'EXDEV', 'ENOTTY', 'ENOSYS']);

/** What copy_file_range answers where it cannot copy between two filesystems; then the bytes go through this process. */
const NO_KERNEL_COPY = new Set(['EXDEV', 'ENOSYS', 'EOPNOTSUPP', 'EINVAL']);
const BUFFER_BYTES = 1024 * 1024;

/** Bytes copied in one blocking call: a few milliseconds at the speed of memory, after which other work and the signal have their turn. */
const SLICE_BYTES = 4 * 1024 * 1024;

/** The data cannot be told from the holes; a dense copy is never made instead. */
export class SparseCopyUnsupported extends InvalidState {
  constructor(path: string, cause: unknown) {
    const type = `0x${statfsSync(path).type.toString(16)}`;
    super(
      `sparse-capable filesystem required: ${path} is on a filesystem (type ${type}) without SEEK_DATA and SEEK_HOLE`,
      {
        reason: 'SPARSE_COPY_UNSUPPORTED',
        metadata: { path, filesystemType: type },
        cause,
      },
    );
  }
}

/** How a copy was made. */
export interface SparseCopy {
  /** The filesystem shares the source's blocks. */
  readonly reflinked: boolean;
  /** 0 with a reflink. */
  readonly copiedBytes: number;
}

/**
 * A copy of one regular file that takes no more room than its data: a reflink where the filesystem can, else only the
 * extents that hold data. Mode, owner and modification time are kept. `destination` must not exist; on failure and
 * cancellation it does not exist afterwards.
 * @throws SparseCopyUnsupported
 */
export async function sparseCopy(source: string, destination: string, signal?: AbortSignal): Promise<SparseCopy> {
  signal?.throwIfAborted();
  try {
    await copyFile(source, destination, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
    return { reflinked: true, copiedBytes: 0 };
  } catch (error) {
    if (!NO_REFLINK.has(errnoOf(error) ?? '')) throw error;
  }
  return { reflinked: false, copiedBytes: await copyExtents(source, destination, signal) };
}

/** The way without reflinks, for {@link sparseCopy} and its tests. @returns bytes copied */
export async function copyExtents(source: string, destination: string, signal?: AbortSignal): Promise<number> {
  const input = openSync(source, constants.O_RDONLY);
  let output: number | undefined;
  let copiedBytes = 0;
  let sinceTurn = 0;
  try {
    const { size, mode, uid, gid, atime, mtime } = fstatSync(input);
    output = openSync(destination, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    ftruncateSync(output, size);
    for (const { start, end } of extents(input, size, source))
      for (let offset = start; offset < end;) {
        signal?.throwIfAborted();
        const copied = copySlice(input, output, offset, Math.min(SLICE_BYTES, end - offset), source);
        offset += copied;
        copiedBytes += copied;
        sinceTurn += copied;
        if (sinceTurn < SLICE_BYTES) continue;
        sinceTurn = 0;
        await nextTurn();
      }
    if (process.getuid?.() === 0) fchownSync(output, uid, gid);
    fchmodSync(output, mode & 0o7777);
    futimesSync(output, atime, mtime);
    return copiedBytes;
  } catch (error) {
    if (output !== undefined) await rm(destination, { force: true });
    throw error;
  } finally {
    closeSync(input);
    if (output !== undefined) closeSync(output);
  }
}

function copySlice(input: number, output: number, offset: number, length: number, source: string): number {
  let copied: number;
  try {
    copied = copyFileRange(input, offset, output, offset, length);
  } catch (error) {
    if (!NO_KERNEL_COPY.has(errnoOf(error) ?? '')) throw error;
    const slice = Buffer.allocUnsafe(Math.min(length, BUFFER_BYTES));
    copied = readSync(input, slice, 0, slice.length, offset);
    for (let done = 0; done < copied;) done += writeSync(output, slice, done, copied - done, offset + done);
  }
  if (copied === 0)
    throw new Corrupt(`${source} became shorter while it was copied`, {
      reason: 'FILE_CHANGED',
      metadata: { path: source },
    });
  return copied;
}

/** Stretches that hold data, in order; everything else reads as zeros. */
export function* extents(fd: number, size: number, path: string): Generator<{ start: number; end: number }> {
  let position = 0;
  while (position < size) {
    let start: number | undefined;
    let end: number | undefined;
    try {
      start = seekExtent(fd, position, SEEK_DATA);
      if (start === undefined) return;
      end = seekExtent(fd, start, SEEK_HOLE);
    } catch (error) {
      if (errnoOf(error) === 'EINVAL') throw new SparseCopyUnsupported(path, error);
      throw error;
    }
    position = end ?? size;
    yield { start, end: position };
  }
}
