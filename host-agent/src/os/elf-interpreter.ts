import { open, type FileHandle } from 'node:fs/promises';
import { Corrupt } from '@offshoot/shared/errors.js';

/** Where it stands in the header of a 64-bit file, and how long it is (elf(5)). */
const HEADER_BYTES = 64;
const PROGRAM_HEADERS_AT = 32;
const PROGRAM_HEADER_SIZE_AT = 54;
const PROGRAM_HEADER_COUNT_AT = 56;
const MAGIC = Buffer.from('\x7fELF\x02\x01', 'latin1');

/** The segment that names the interpreter, and where a program header has its place and length. */
const PT_INTERP = 3;
const OFFSET_AT = 8;
const SIZE_AT = 32;
const MIN_PROGRAM_HEADER_BYTES = 56;

/**
 * The program that loads another one's libraries, which it does not start without: absolute path, as `/lib64/ld-linux-x86-64.so.2`;
 * undefined for one that is linked statically.
 * @throws Corrupt `NO_PROGRAM` for what is no 64-bit little-endian ELF file; system errors
 */
export async function elfInterpreter(path: string): Promise<string | undefined> {
  await using file = await open(path, 'r');
  const header = await read(file, 0, HEADER_BYTES);
  if (!header.subarray(0, MAGIC.length).equals(MAGIC) || header.length < HEADER_BYTES) throw noProgram(path);
  const size = header.readUInt16LE(PROGRAM_HEADER_SIZE_AT);
  const count = header.readUInt16LE(PROGRAM_HEADER_COUNT_AT);
  const table = await read(file, Number(header.readBigUInt64LE(PROGRAM_HEADERS_AT)), size * count);
  if (table.length < size * count || size < MIN_PROGRAM_HEADER_BYTES) throw noProgram(path);
  for (let at = 0; at < table.length; at += size) {
    if (table.readUInt32LE(at) !== PT_INTERP) continue;
    const length = Math.min(Number(table.readBigUInt64LE(at + SIZE_AT)), 4096);
    const name = await read(file, Number(table.readBigUInt64LE(at + OFFSET_AT)), length);
    return name.toString('latin1').replace(/\0.*$/s, '');
  }
  return undefined;
}

async function read(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

const noProgram = (path: string): Corrupt =>
  new Corrupt(`${path} is no 64-bit ELF program`, { reason: 'NO_PROGRAM', metadata: { path } });
