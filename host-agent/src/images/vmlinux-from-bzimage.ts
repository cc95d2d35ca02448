import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Corrupt, messageOf } from '@offshoot/shared/errors.js';
import { ToolFailure, runTool } from './tool.js';
import type { ToolName } from './tool.js';

/** Field offsets of the setup header (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"). */
const SETUP_SECTS = 0x1f1;
const MAGIC = 0x202;
const PROTOCOL = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HEADER_BYTES = 0x250;
/** 2.08 (kernel 2.6.26) is the first with the payload's place. */
const PAYLOAD_PROTOCOL = 0x208;
const SECTOR = 512;

/** What the last four bytes of every payload are: its size unpacked, little endian. */
const SIZE_BYTES = 4;

/** How a kernel may be packed (the table in boot.rst under payload_offset), and what undoes it in place. */
const COMPRESSIONS: readonly {
  readonly name: string;
  readonly magic: readonly number[];
  readonly suffix: string;
  readonly tool?: ToolName;
  readonly args?: readonly string[];
}[] = [
  // Ends with that size by itself (RFC 1952, ISIZE); to all others the kernel's Makefile adds it.
  { name: 'gzip', magic: [0x1f, 0x8b], suffix: '.gz' },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], suffix: '.xz', tool: 'xz', args: ['-d', '--'] },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd], suffix: '.zst', tool: 'zstd', args: ['-d', '-q', '--rm', '--'] },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00], suffix: '.lzma', tool: 'xz', args: ['-d', '--format=lzma', '--'] },
  // -m: to a file beside it, where lz4 alone would take a missing terminal for a pipe.
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18], suffix: '.lz4', tool: 'lz4', args: ['-d', '-q', '-m', '--rm', '--'] },
];

/**
 * Writes the ELF image inside a bzImage to `target`, for VMMs that do not run a kernel's own unpacking code (Firecracker).
 * @param scratch folder for the packed kernel, made here
 * @throws Corrupt (KERNEL_FORMAT) unless there is a 64-bit x86 ELF of the size the bzImage says
 */
export async function extractVmlinux(
  bzImage: string,
  target: string,
  scratch: string,
  signal?: AbortSignal,
): Promise<void> {
  const { start, end, compression, unpackedBytes } = await findPayload(bzImage);
  await mkdir(scratch, { recursive: true });
  const unpacked = join(scratch, 'vmlinux');
  try {
    if (compression.tool === undefined)
      await pipeline(
        createReadStream(bzImage, { start, end: end - 1 }),
        createGunzip(),
        createWriteStream(unpacked, { flags: 'wx' }),
        { ...(signal && { signal }) },
      );
    else {
      const packed = `${unpacked}${compression.suffix}`;
      // Without the size: to each of these programs it is garbage after the end.
      await pipeline(
        createReadStream(bzImage, { start, end: end - SIZE_BYTES - 1 }),
        createWriteStream(packed, { flags: 'wx' }),
        { ...(signal && { signal }) },
      );
      await runTool(compression.tool, [...(compression.args ?? []), packed], { signal });
    }
  } catch (error) {
    if (!(error instanceof ToolFailure) && !isZlibError(error)) throw error;
    throw malformed(bzImage, `its ${compression.name} payload cannot be unpacked: ${messageOf(error)}`, error);
  }
  const { size } = await stat(unpacked);
  if (size !== unpackedBytes)
    throw malformed(bzImage, `its payload has ${String(size)} bytes unpacked instead of ${String(unpackedBytes)}`);
  await assertElf(bzImage, unpacked);
  await rename(unpacked, target);
}

/** `start` and `end` are offsets in the file, the end excluded. */
async function findPayload(path: string) {
  await using file = await open(path);
  const { size } = await file.stat();
  const header = await readAt(file, 0, HEADER_BYTES);
  if (header.length < HEADER_BYTES || header.toString('latin1', MAGIC, MAGIC + 4) !== 'HdrS')
    throw malformed(path, 'it has no setup header of the x86 boot protocol');
  if (header.readUInt16LE(PROTOCOL) < PAYLOAD_PROTOCOL)
    throw malformed(path, 'it is of a boot protocol before 2.08, which does not say where the kernel is');
  // 0 means 4, for loaders of the time when that was the only value.
  const setupSectors = header.readUInt8(SETUP_SECTS) || 4;
  const start = (setupSectors + 1) * SECTOR + header.readUInt32LE(PAYLOAD_OFFSET);
  const end = start + header.readUInt32LE(PAYLOAD_LENGTH);
  if (end > size || end - start <= SIZE_BYTES)
    throw malformed(path, `its payload is at ${String(start)} to ${String(end)} of ${String(size)} bytes`);
  const magic = await readAt(file, start, 6);
  const compression = COMPRESSIONS.find((known) => known.magic.every((byte, index) => magic[index] === byte));
  if (compression === undefined) {
    const names = COMPRESSIONS.map(({ name }) => name).join(', ');
    throw malformed(path, `its payload begins with ${magic.toString('hex')}, which is none of ${names}`);
  }
  const unpackedBytes = (await readAt(file, end - SIZE_BYTES, SIZE_BYTES)).readUInt32LE(0);
  return { start, end, compression, unpackedBytes };
}

/** ELF64 (EI_CLASS 2), little endian (EI_DATA 1), for x86-64 (e_machine 62); elf(5). */
async function assertElf(bzImage: string, path: string): Promise<void> {
  await using file = await open(path);
  const header = await readAt(file, 0, 20);
  if (header.length < 20 || header.toString('latin1', 0, 4) !== '\x7fELF')
    throw malformed(bzImage, 'what is in it is no ELF file');
  if (header[4] !== 2 || header[5] !== 1 || header.readUInt16LE(18) !== 62)
    throw malformed(bzImage, 'what is in it is no ELF file for 64-bit x86');
}

async function readAt(file: Awaited<ReturnType<typeof open>>, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

const malformed = (path: string, problem: string, cause?: unknown): Corrupt =>
  new Corrupt(`${path} is no kernel to take a vmlinux from: ${problem}`, {
    reason: 'KERNEL_FORMAT',
    metadata: { path },
    cause,
  });

const isZlibError = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('Z_');
