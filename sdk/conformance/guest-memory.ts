import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { FRAME_SIZE, SEGMENT_CAPACITY, type ContentType } from '@offshoot/shared/mailbox/frame-layout.js';
import {
  deliveryBytes,
  generationBytes,
  hasFrameMagic,
  parseFrameHeader,
  type AckRoute,
  type FrameHeader,
} from '@offshoot/shared/mailbox/frame.js';

/** Larger mappings are not memory anybody uses, but the sanitizer's shadow of all that could be. */
const MAX_MAPPING = 2 ** 30;

export interface FoundFrame {
  readonly address: number;
  readonly header: FrameHeader;
}

/** A delivery as the host writes it. Left out: JSON, generation 1, no acknowledgement. */
export interface HostDelivery {
  readonly payload: Buffer;
  readonly contentType?: ContentType;
  readonly ack?: Partial<AckRoute>;
  /** Segments that get no generation yet. */
  readonly withhold?: readonly number[];
}

/** Another process's memory as the host sees a VM's: pages, and whatever stands in them. */
export class GuestMemory implements Disposable {
  private readonly file: number;

  constructor(private readonly pid: number) {
    this.file = openSync(`/proc/${String(pid)}/mem`, 'r+');
  }

  /** Armed and delivered frames of this name, by segment; a frame and a copy of it are two. */
  framesOf(name: string): FoundFrame[] {
    const found: FoundFrame[] = [];
    const page = Buffer.alloc(FRAME_SIZE);
    for (const [, from = '', to = ''] of this.mappings()) {
      const [start, end] = [parseInt(from, 16), parseInt(to, 16)];
      if (end - start > MAX_MAPPING) continue;
      for (let address = start; address < end; address += FRAME_SIZE) {
        if (this.readInto(page, address) < FRAME_SIZE || !hasFrameMagic(page)) continue;
        const parse = parseFrameHeader(page);
        if (parse.ok && parse.header.name === name) found.push({ address, header: parse.header });
      }
    }
    return found.sort((a, b) => a.header.segmentIndex - b.header.segmentIndex);
  }

  read(address: number, length = FRAME_SIZE): Buffer {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, this.readInto(bytes, address));
  }

  write(address: number, bytes: Buffer): void {
    writeSync(this.file, bytes, 0, bytes.length, address);
  }

  /** Everything but the generations, then the generations. Returns the delivery's ack nonce. */
  deliver(frames: readonly FoundFrame[], { payload, contentType = 'json', ack, withhold = [] }: HostDelivery): bigint {
    const route: AckRoute = {
      transport: 'none',
      port: 0,
      address: '127.0.0.1',
      nonce: randomBytes(8).readBigUInt64LE(),
      ...ack,
    };
    frames.forEach(({ address, header }, i) => {
      const part = payload.subarray(i * SEGMENT_CAPACITY, (i + 1) * SEGMENT_CAPACITY);
      const delivery = { generation: 1, contentType, payload: part, totalLength: payload.length, ack: route };
      const { offset, bytes } = deliveryBytes(header, delivery);
      this.write(address + offset, bytes);
    });
    const last = generationBytes(1);
    frames.forEach(({ address }, i) => {
      if (!withhold.includes(i)) this.write(address + last.offset, last.bytes);
    });
    return route.nonce;
  }

  /** Flags of the mapping an address is in (`VmFlags` of proc_pid_smaps(5)). */
  mappingFlags(address: number): readonly string[] {
    const text = readFileSync(`/proc/${String(this.pid)}/smaps`, 'latin1');
    for (const [, from = '', to = '', flags = ''] of text.matchAll(/^([0-9a-f]+)-([0-9a-f]+) [^]*?^VmFlags: (.*)$/gm))
      if (parseInt(from, 16) <= address && address < parseInt(to, 16)) return flags.trim().split(' ');
    return [];
  }

  [Symbol.dispose](): void {
    closeSync(this.file);
  }

  private mappings(): IterableIterator<RegExpMatchArray> {
    return readFileSync(`/proc/${String(this.pid)}/maps`, 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw-p /gm);
  }

  /** Bytes read; 0 where there is no memory (any more). */
  private readInto(bytes: Buffer, address: number): number {
    try {
      return readSync(this.file, bytes, 0, bytes.length, address);
    } catch {
      return 0;
    }
  }
}
