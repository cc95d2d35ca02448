import { open, type FileHandle } from 'node:fs/promises';
import { Corrupt, InvalidInput, InvalidState } from '@offshoot/shared/errors.js';
import type { MemoryRegion } from '../domain/instance.js';
import type { GuestMemory } from '../ports/driver.js';
import { mappingsOf, processInaccessible, type FileIdentity, type FileMapping } from './file-mappings.js';

/** The RAM of a VM whose VMM maps it from one file, through /proc/PID/mem. The VM must be paused. */
export class ProcessMemory implements GuestMemory {
  private constructor(
    private readonly pid: number,
    private readonly file: FileHandle,
    private readonly mappings: readonly FileMapping[],
    readonly regions: readonly MemoryRegion[],
  ) {}

  /**
   * @param memory the file the VMM maps as the VM's RAM
   * @throws Unreachable when the process is gone or ptrace rights are missing; Corrupt when it does not map the file whole
   */
  static async open(pid: number, memory: FileIdentity, regions: readonly MemoryRegion[]): Promise<ProcessMemory> {
    const mappings = await mappingsOf(pid, memory);
    for (const region of regions) locate(mappings, region.fileOffset, region.size);
    try {
      return new ProcessMemory(pid, await open(`/proc/${String(pid)}/mem`, 'r+'), mappings, regions);
    } catch (error) {
      throw processInaccessible(pid, 'mem', error);
    }
  }

  async read(gpa: number, length: number): Promise<Buffer> {
    const pieces = this.pieces(gpa, length);
    const bytes = Buffer.alloc(length);
    for (const piece of pieces) {
      const { bytesRead } = await this.access(this.file.read(bytes, piece.done, piece.length, piece.address));
      if (bytesRead !== piece.length) throw shortAccess('read', this.pid, piece.address, bytesRead, piece.length);
    }
    return bytes;
  }

  async write(gpa: number, bytes: Buffer): Promise<void> {
    const pieces = this.pieces(gpa, bytes.length);
    if (pieces.some(({ isPrivate }) => !isPrivate))
      throw new InvalidState(
        `the memory of process ${String(this.pid)} is shared with its file: a write would change what others map`,
        {
          reason: 'MEMORY_NOT_PRIVATE',
        },
      );
    for (const piece of pieces) {
      const { bytesWritten } = await this.access(this.file.write(bytes, piece.done, piece.length, piece.address));
      if (bytesWritten !== piece.length)
        throw shortAccess('write', this.pid, piece.address, bytesWritten, piece.length);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
  }

  private pieces(gpa: number, length: number): Piece[] {
    const region = this.regions.find((r) => gpa >= r.gpa && gpa + length <= r.gpa + r.size);
    if (region === undefined || !Number.isSafeInteger(gpa) || !Number.isSafeInteger(length) || length < 0)
      throw InvalidInput.field(
        'gpa',
        `${String(length)} bytes at ${String(gpa)} are not within guest RAM`,
        'ADDRESS_OUTSIDE_RAM',
      );
    return locate(this.mappings, region.fileOffset + gpa - region.gpa, length);
  }

  private async access<T>(operation: Promise<T>): Promise<T> {
    try {
      return await operation;
    } catch (error) {
      throw processInaccessible(this.pid, 'mem', error);
    }
  }
}

interface Piece {
  readonly address: number;
  readonly length: number;
  /** Bytes before it. */
  readonly done: number;
  readonly isPrivate: boolean;
}

/** A stretch of the file as stretches of the address space: the kernel may have split the mapping. */
function locate(mappings: readonly FileMapping[], fileOffset: number, length: number): Piece[] {
  const pieces: Piece[] = [];
  for (let done = 0; done < length;) {
    const at = fileOffset + done;
    const mapping = mappings.find((m) => at >= m.fileOffset && at < m.fileOffset + m.size);
    if (mapping === undefined)
      throw new Corrupt(`offset ${String(at)} of the memory file is not mapped by its VMM`, {
        reason: 'MEMORY_NOT_MAPPED',
      });
    const inside = at - mapping.fileOffset;
    const piece = Math.min(length - done, mapping.size - inside);
    pieces.push({ address: mapping.address + inside, length: piece, done, isPrivate: mapping.isPrivate });
    done += piece;
  }
  return pieces;
}

const shortAccess = (what: string, pid: number, address: number, done: number, wanted: number): Corrupt =>
  new Corrupt(
    `${what} of /proc/${String(pid)}/mem at 0x${address.toString(16)} fell short: ${String(done)} of ${String(wanted)} bytes`,
    { reason: 'MEMORY_ACCESS_SHORT' },
  );
