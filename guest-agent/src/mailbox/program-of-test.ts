import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import { armSegments, type MailboxMarker } from '@offshoot/shared/mailbox/segments.js';
import { deliverInto } from './frames-of-test.js';

const MAIN = `
const koffi = require(${JSON.stringify(createRequire(import.meta.url).resolve('koffi'))});
const mmap = koffi.load('libc.so.6').func('void *mmap(void *a, size_t n, int p, int f, int fd, int64 o)');
// Private, anonymous, in memory from the start.
console.log(koffi.address(mmap(null, ${String(FRAME_SIZE)} * Number(process.argv[1]), 3, 0x8022, -1, 0)).toString(16));
process.stdin.resume();
`;

/** A program with pages of its own, for tests, which arm mailboxes in them and deliver into them from outside. */
export class ProgramOfTest implements AsyncDisposable {
  private readonly memory: number;

  private constructor(
    private readonly child: ChildProcessWithoutNullStreams,
    readonly pid: number,
    private readonly base: bigint,
  ) {
    this.memory = openSync(`/proc/${String(pid)}/mem`, 'r+');
  }

  static async start(pages: number): Promise<ProgramOfTest> {
    const child = spawn(process.execPath, ['-e', MAIN, '--', String(pages)], { stdio: 'pipe' });
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    if (child.pid === undefined) throw new Error('no program');
    return new ProgramOfTest(child, child.pid, BigInt(`0x${line}`));
  }

  /** Addresses of pages, by their numbers. */
  addresses(...pages: number[]): bigint[] {
    return pages.map((page) => this.base + BigInt(page * FRAME_SIZE));
  }

  read(page: number): Buffer {
    const bytes = Buffer.alloc(FRAME_SIZE);
    readSync(this.memory, bytes, 0, FRAME_SIZE, this.addresses(page)[0] ?? 0n);
    return bytes;
  }

  write(page: number, bytes: Buffer): void {
    writeSync(this.memory, bytes, 0, bytes.length, Number(this.addresses(page)[0]));
  }

  /** Arms a mailbox in these pages. */
  arm(marker: MailboxMarker, ...pages: number[]): void {
    this.change(pages, (frames) => {
      armSegments(frames, marker);
    });
  }

  /** The host's hand. */
  deliver(payload: Buffer, ...pages: number[]): void {
    this.change(pages, (frames) => deliverInto(frames, payload));
  }

  change(pages: number[], act: (frames: Buffer[]) => void): void {
    const frames = pages.map((page) => this.read(page));
    act(frames);
    frames.forEach((frame, i) => {
      this.write(pages[i] ?? 0, frame);
    });
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    closeSync(this.memory);
  }
}
