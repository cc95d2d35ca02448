import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { FRAME_LAYOUT, FRAME_SIZE, type FrameState } from '@offshoot/shared/mailbox/frame-layout.js';
import { armFrame, tokenFingerprint, writeFrameState } from '@offshoot/shared/mailbox/frame.js';
import type { FileStamp, MemoryRegion, RegisteredMailbox } from '../domain/instance.js';
import type { GuestMemory } from '../ports/driver.js';

/** What a test's guest wrote into one page. */
export interface TestFrame {
  readonly gpa: number;
  readonly name?: string;
  readonly token?: string;
  readonly nonce?: bigint;
  readonly segmentIndex?: number;
  readonly segmentCount?: number;
  readonly state?: FrameState;
  readonly generation?: number;
}

/** The page as guest software arms it, with the same code. */
export function framePage(frame: Omit<TestFrame, 'gpa'>): Buffer {
  const { name = 'task', token = 'tk', nonce = 1n, segmentIndex = 0, segmentCount = 1, state = 'armed' } = frame;
  const page = Buffer.alloc(FRAME_SIZE);
  armFrame(page, { name, token, nonce, segmentIndex, segmentCount });
  page.writeUInt32LE(frame.generation ?? 0, FRAME_LAYOUT.generation.offset);
  writeFrameState(page, state);
  return page;
}

/** What the guest agent reports of a frame armed through it. */
export function registrationOf(frame: TestFrame): RegisteredMailbox {
  return {
    name: frame.name ?? 'task',
    tokenFingerprint: tokenFingerprint(frame.token ?? 'tk'),
    nonce: (frame.nonce ?? 1n).toString(16).padStart(16, '0'),
    segmentAddresses: [frame.gpa],
    state: frame.state ?? 'armed',
    attached: false,
  };
}

/** A temporary folder with a sparse memory file in it. */
export class MemoryFile implements AsyncDisposable {
  private constructor(
    readonly root: string,
    readonly regions: readonly MemoryRegion[],
  ) {}

  static async create(regions: readonly MemoryRegion[]): Promise<MemoryFile> {
    const memory = new MemoryFile(await mkdtemp(join(tmpdir(), 'offshoot-memory-')), regions);
    await using file = await open(memory.path, 'wx');
    await file.truncate(Math.max(...regions.map(({ fileOffset, size }) => fileOffset + size)));
    return memory;
  }

  get path(): string {
    return join(this.root, 'memory');
  }

  async write(gpa: number, bytes: Buffer): Promise<void> {
    const region = this.regions.find((r) => gpa >= r.gpa && gpa + bytes.length <= r.gpa + r.size);
    if (region === undefined) throw new RangeError('outside RAM');
    await using file = await open(this.path, 'r+');
    await file.write(bytes, 0, bytes.length, region.fileOffset + gpa - region.gpa);
  }

  async arm(...frames: readonly TestFrame[]): Promise<this> {
    for (const frame of frames) await this.write(frame.gpa, framePage(frame));
    return this;
  }

  async stamp(): Promise<FileStamp> {
    const { size, mtimeNs, ino } = await stat(this.path, { bigint: true });
    return { size: Number(size), mtimeNs: String(mtimeNs), inode: String(ino) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
  }
}

/** RAM of a paused VM in a Buffer, one region from address 0. */
export class BufferMemory implements GuestMemory {
  readonly ram: Buffer;
  readonly writes: { gpa: number; length: number }[] = [];

  constructor(bytes: number) {
    this.ram = Buffer.alloc(bytes);
  }

  get regions(): readonly MemoryRegion[] {
    return [{ gpa: 0, size: this.ram.length, fileOffset: 0 }];
  }

  arm(...frames: readonly TestFrame[]): this {
    for (const frame of frames) framePage(frame).copy(this.ram, frame.gpa);
    return this;
  }

  page(gpa: number): Buffer {
    return this.ram.subarray(gpa, gpa + FRAME_SIZE);
  }

  read(gpa: number, length: number): Promise<Buffer> {
    this.check(gpa, length);
    return Promise.resolve(Buffer.from(this.ram.subarray(gpa, gpa + length)));
  }

  write(gpa: number, bytes: Buffer): Promise<void> {
    this.check(gpa, bytes.length);
    bytes.copy(this.ram, gpa);
    this.writes.push({ gpa, length: bytes.length });
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  private check(gpa: number, length: number): void {
    if (gpa < 0 || gpa + length > this.ram.length) throw InvalidInput.field('gpa', 'outside RAM');
  }
}
