import { constants, type BigIntStats } from 'node:fs';
import { copyFile, open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Corrupt, InvalidState, errnoOf } from '@offshoot/shared/errors.js';
import { copyAttributes } from './file-attributes.js';
import { filesystemTypeOf } from './filesystem-type.js';
import { SEEK_DATA, SEEK_HOLE, copyFileRange, seekExtent } from './libc.js';
import { UnfinishedPath } from './unfinished-path.js';

/** What a filesystem without reflinks, or a copy across filesystems, answers to FICLONE. */
const NO_REFLINK = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'EXDEV', 'ENOTTY', 'ENOSYS']);

/** What a filesystem answers to lseek(2) when it does not know SEEK_DATA, or no seeks at all. */
const NO_EXTENT_SEEKS = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ESPIPE', 'ENOSYS']);

/** Bytes copied in one call, after which the signal has its turn: a few milliseconds at the speed of memory. */
const SLICE_BYTES = 8 * 1024 * 1024;
const BUFFER_BYTES = 1024 * 1024;

/** open(2): a file without a name, in the directory given; __O_TMPFILE of include/uapi/asm-generic/fcntl.h. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
const PROBE_BYTES = 1024 * 1024;

/** What a copy took. */
export interface CopyCost {
  /** The copy shares its blocks with the source; nothing was copied. */
  readonly reflinked: boolean;
  /** Length of the extents that were copied: what the copy takes of the disk, but for rounding and metadata. */
  readonly copiedBytes: number;
}

export interface FileCopyOptions {
  /** Whether a reflink is tried first. */
  readonly reflink: boolean;
  /** Whether the copy survives a power cut, as soon as its directory does (fsync). */
  readonly durable: boolean;
}

/** An open regular file and the name it has in messages. */
export interface SourceFile {
  readonly handle: FileHandle;
  readonly path: string;
}

/** The data cannot be told from the holes; a dense copy is never made instead. */
export class SparseCopyUnsupported extends InvalidState {
  /** @param fd the file at `path`, open */
  constructor(fd: number, path: string, cause: unknown) {
    const type = filesystemTypeOf(fd);
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

/**
 * A copy of one regular file that takes no more room than its data: a reflink where the filesystem can, else only the
 * extents that hold data. Mode, owner (as root) and times are kept. `destination` must not exist; on failure and
 * cancellation it does not exist afterwards.
 * @throws SparseCopyUnsupported, Corrupt when the file became shorter, system errors such as EEXIST, EIO and ENOSPC
 */
export async function sparseCopy(source: string, destination: string, signal?: AbortSignal): Promise<CopyCost> {
  await using handle = await open(source, 'r');
  return await copyOpenFile({ handle, path: source }, destination, { reflink: true, durable: false }, signal);
}

/** The way without reflinks, for those who know that there are none, and for tests. */
export async function copyExtents(source: string, destination: string, signal?: AbortSignal): Promise<CopyCost> {
  await using handle = await open(source, 'r');
  return await copyOpenFile({ handle, path: source }, destination, { reflink: false, durable: false }, signal);
}

/** {@link sparseCopy} of a file that is open: of the very file its owner has looked at, whatever has its name now. */
export async function copyOpenFile(
  source: SourceFile,
  destination: string,
  { reflink, durable }: FileCopyOptions,
  signal?: AbortSignal,
): Promise<CopyCost> {
  signal?.throwIfAborted();
  const stats = await source.handle.stat({ bigint: true });
  await using output = await open(destination, 'wx', 0o600);
  await using made = new UnfinishedPath(destination);
  const reflinked = reflink && (await takesReflink(source.handle, output));
  if (!reflinked) await output.truncate(Number(stats.size));
  const copiedBytes = reflinked ? 0 : await copyData(source, stats, output, signal);
  await copyAttributes(stats, destination);
  if (durable) await output.sync();
  signal?.throwIfAborted();
  made.keep();
  return { reflinked, copiedBytes };
}

/**
 * Writes a file's data onto a block device that holds zeros, at least as large, and through to its medium. On failure some of
 * it is there.
 * @returns bytes copied
 * @throws as {@link sparseCopy}
 */
export async function copyOntoDevice(source: string, device: string, signal?: AbortSignal): Promise<number> {
  await using handle = await open(source, 'r');
  await using output = await open(device, 'r+');
  return await copyOntoOpenDevice({ handle, path: source }, output, signal);
}

/** {@link copyOntoDevice} where both are open: the very file and device that their opener has looked at. */
export async function copyOntoOpenDevice(
  source: SourceFile,
  device: FileHandle,
  signal?: AbortSignal,
): Promise<number> {
  const copied = await copyData(source, await source.handle.stat({ bigint: true }), device, signal);
  await device.sync();
  return copied;
}

/** FICLONE on a thread of the pool: the filesystem writes out the source's dirty pages first. */
async function takesReflink(input: FileHandle, output: FileHandle): Promise<boolean> {
  try {
    // Named by their descriptors, both are the files that are open. Without the force libuv would make a dense copy.
    await copyFile(descriptorPath(input.fd), descriptorPath(output.fd), constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    if (NO_REFLINK.has(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

const descriptorPath = (fd: number): string => `/proc/self/fd/${String(fd)}`;

/** Fills what holds nothing yet with the extents of a file. @returns bytes copied */
async function copyData(
  source: SourceFile,
  stats: BigIntStats,
  output: FileHandle,
  signal: AbortSignal | undefined,
): Promise<number> {
  const size = Number(stats.size);
  const copier = new RangeCopier(source, output);
  let copied = 0;
  for (const { start, end } of extents(source.handle.fd, size, source.path)) {
    if (end - start === size) await assertNoHiddenHoles(source, stats);
    for (let offset = start; offset < end;) {
      signal?.throwIfAborted();
      offset += await copier.copy(offset, Math.min(SLICE_BYTES, end - offset));
    }
    copied += end - start;
  }
  return copied;
}

class RangeCopier {
  private inKernel = true;
  private buffer: Buffer | undefined;

  constructor(
    private readonly source: SourceFile,
    private readonly output: FileHandle,
  ) {}

  /** Copies at most `length` bytes to the same place of the output. @returns how many, never 0 */
  async copy(offset: number, length: number): Promise<number> {
    if (this.inKernel) {
      // Fails between filesystems of different types; answers 0 where a filesystem has it in name only.
      const copied = await copyFileRange(this.source.handle.fd, offset, this.output.fd, offset, length);
      if (copied !== undefined && copied > 0) return copied;
      this.inKernel = false;
    }
    const buffer = (this.buffer ??= Buffer.allocUnsafe(BUFFER_BYTES));
    const { bytesRead } = await this.source.handle.read(buffer, 0, Math.min(length, BUFFER_BYTES), offset);
    if (bytesRead === 0) {
      const { path } = this.source;
      throw new Corrupt(`${path} became shorter while it was copied`, { reason: 'FILE_CHANGED', metadata: { path } });
    }
    for (let done = 0; done < bytesRead;)
      done += (await this.output.write(buffer, done, bytesRead - done, offset + done)).bytesWritten;
    return bytesRead;
  }
}

/**
 * Where a filesystem has no extent seeks of its own, the kernel answers for it that the whole file is data, holes and all
 * (generic_file_llseek: ramfs, FAT, NFS before 4.2). Such an answer for a file that takes less room than it is long is
 * believed only of a filesystem that shows a hole that is certain; there, compression takes less room, too.
 */
async function assertNoHiddenHoles({ handle, path }: SourceFile, stats: BigIntStats): Promise<void> {
  if (stats.blocks * 512n >= stats.size) return;
  let cause: unknown;
  try {
    await using probe = await open(dirname(path), O_TMPFILE | constants.O_RDWR, 0o600);
    await probe.truncate(PROBE_BYTES);
    if (seekExtent(probe.fd, 0, SEEK_DATA) === undefined) return;
  } catch (error) {
    cause = error;
  }
  throw new SparseCopyUnsupported(handle.fd, path, cause);
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
      if (NO_EXTENT_SEEKS.has(errnoOf(error) ?? '')) throw new SparseCopyUnsupported(fd, path, error);
      throw error;
    }
    position = end ?? size;
    yield { start, end: position };
  }
}
