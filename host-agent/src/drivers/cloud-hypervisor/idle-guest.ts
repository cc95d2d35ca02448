/** Where its code is, and begins: RAM in every machine. */
const ADDRESS = 0x100_0000;

/** hlt; jmp to it. Entered in 32-bit protected mode with interrupts off, it never wakes up. */
const CODE = Buffer.from([0xf4, 0xeb, 0xfd]);

const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;
const CODE_OFFSET = HEADER_BYTES + 2 * SEGMENT_BYTES;
const NOTE_OFFSET = CODE_OFFSET + 4;

const PT_LOAD = 1;
const PT_NOTE = 4;
/** XEN_ELFNOTE_PHYS32_ENTRY (xen/include/public/elfnote.h): what makes it a PVH kernel. */
const PHYS32_ENTRY = 18;

/**
 * The smallest kernel: an ELF file (elf(5), 64 bits) of three bytes of code and the note that says where they begin. It does
 * nothing that a KVM could fail at which cannot run an ordinary kernel.
 */
export function idleGuest(): Buffer {
  const file = Buffer.alloc(NOTE_OFFSET + 20);
  file.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  file.writeUInt16LE(2, 16); // executable
  file.writeUInt16LE(62, 18); // x86-64
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(BigInt(ADDRESS), 24);
  file.writeBigUInt64LE(BigInt(HEADER_BYTES), 32);
  file.writeUInt16LE(HEADER_BYTES, 52);
  file.writeUInt16LE(SEGMENT_BYTES, 54);
  file.writeUInt16LE(2, 56);
  writeSegment(file, HEADER_BYTES, { type: PT_LOAD, offset: CODE_OFFSET, bytes: CODE.length });
  writeSegment(file, HEADER_BYTES + SEGMENT_BYTES, { type: PT_NOTE, offset: NOTE_OFFSET, bytes: 20 });
  CODE.copy(file, CODE_OFFSET);
  for (const [index, value] of [4, 4, PHYS32_ENTRY].entries()) file.writeUInt32LE(value, NOTE_OFFSET + 4 * index);
  file.write('Xen\0', NOTE_OFFSET + 12, 'latin1');
  file.writeUInt32LE(ADDRESS, NOTE_OFFSET + 16);
  return file;
}

function writeSegment(file: Buffer, at: number, segment: { type: number; offset: number; bytes: number }): void {
  file.writeUInt32LE(segment.type, at);
  file.writeUInt32LE(5, at + 4); // readable, executable
  const address = ADDRESS + segment.offset - CODE_OFFSET;
  for (const [index, value] of [segment.offset, address, address, segment.bytes, segment.bytes, 4].entries())
    file.writeBigUInt64LE(BigInt(value), at + 8 + 8 * index);
}
