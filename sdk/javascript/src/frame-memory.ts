import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { FRAME_LAYOUT, FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';

/** Unit in which a WebAssembly memory grows. */
const WASM_PAGE = 65_536;

/** Mappings that are private memory of this process: `start-end rw-p`, hexadecimal (proc_pid_maps(5)). */
const OWN_MAPPING = /^([0-9a-f]+)-[0-9a-f]+ rw-p /gm;

/**
 * Page-aligned pages for the frames of a mailbox. A WebAssembly memory is that without native code, and unlike other
 * buffers it never moves: V8 reserves all it could grow to.
 */
export class FrameMemory {
  /** 4096 bytes each, in order. */
  readonly pages: readonly Buffer[];

  constructor(segments: number) {
    const size = Math.ceil((segments * FRAME_SIZE) / WASM_PAGE);
    const { buffer } = new WebAssembly.Memory({ initial: size, maximum: size });
    this.pages = Array.from({ length: segments }, (_, i) => Buffer.from(buffer, i * FRAME_SIZE, FRAME_SIZE));
  }

  /**
   * Virtual address of each page, hexadecimal: JavaScript does not say where a buffer is, so this looks for the nonce of
   * the armed first frame at the beginning of each of the process's mappings. Undefined where it is not found.
   */
  addresses(): readonly string[] | undefined {
    try {
      const start = this.start();
      return start === undefined ? undefined : this.pages.map((_, i) => (start + i * FRAME_SIZE).toString(16));
    } catch {
      return undefined; // no /proc, or one that is closed to us
    }
  }

  wipe(): void {
    for (const page of this.pages) page.fill(0);
  }

  private start(): number | undefined {
    const { offset, size } = FRAME_LAYOUT.nonce;
    const nonce = this.pages[0]?.subarray(offset, offset + size);
    const seen = Buffer.alloc(size);
    const memory = openSync('/proc/self/mem', 'r');
    try {
      return Array.from(readFileSync('/proc/self/maps', 'latin1').matchAll(OWN_MAPPING), ([, start = '']) =>
        parseInt(start, 16),
      ).find((start) => readSync(memory, seen, 0, size, start + offset) === size && nonce?.equals(seen));
    } finally {
      closeSync(memory);
    }
  }
}
