import { randomBytes } from 'node:crypto';
import { deliveryBytes, generationBytes, readFrameHeader, type AckRoute } from '@offshoot/shared/mailbox/frame.js';
import { hasFrameMagic } from '@offshoot/shared/mailbox/frame.js';
import { SEGMENT_CAPACITY, type ContentType } from '@offshoot/shared/mailbox/frame-layout.js';
import { FramePage } from '../os/frame-page.js';

/**
 * The host's hand in this process's memory, for tests: keeps every page that is taken and writes deliveries into frames as
 * the host does.
 */
export class FramesOfTest implements Disposable {
  private readonly pages = new Set<FramePage>();
  private readonly take = FramePage.take.bind(FramePage);

  constructor() {
    FramePage.take = () => {
      const page = this.take();
      this.pages.add(page);
      return page;
    };
  }

  [Symbol.dispose](): void {
    FramePage.take = this.take;
  }

  /** The page of the live frame with this name. */
  page(name: string): Buffer {
    for (const { bytes } of this.pages) if (hasFrameMagic(bytes) && readFrameHeader(bytes).name === name) return bytes;
    throw new Error(`no frame named ${name}`);
  }

  names(): string[] {
    return [...this.pages].flatMap(({ bytes }) => (hasFrameMagic(bytes) ? [readFrameHeader(bytes).name] : []));
  }

  /** The pages of the live mailbox with this name, in the order of its segments. */
  pagesOf(name: string): Buffer[] {
    const placeOf = (page: Buffer): number => readFrameHeader(page).segmentIndex;
    return [...this.pages]
      .map(({ bytes }) => bytes)
      .filter((page) => hasFrameMagic(page) && readFrameHeader(page).name === name)
      .sort((a, b) => placeOf(a) - placeOf(b));
  }

  /** Returns the nonce of the delivery. */
  deliver(
    name: string,
    payload: Buffer,
    ack: Partial<AckRoute> = { transport: 'none' },
    contentType: ContentType = 'json',
  ): bigint {
    return deliverInto(this.pagesOf(name), payload, ack, contentType);
  }
}

/** Writes a delivery into armed frames as the host does, and returns its nonce. */
export function deliverInto(
  pages: readonly Buffer[],
  payload: Buffer,
  ack: Partial<AckRoute> = { transport: 'none' },
  contentType: ContentType = 'json',
): bigint {
  const nonce = randomBytes(8).readBigUInt64LE();
  const route: AckRoute = { transport: 'udp', port: 0, address: '127.0.0.1', nonce, ...ack };
  pages.forEach((page, index) => {
    const header = readFrameHeader(page);
    const generation = header.generation + 1;
    const { offset, bytes } = deliveryBytes(header, {
      generation,
      contentType,
      payload: payload.subarray(index * SEGMENT_CAPACITY, (index + 1) * SEGMENT_CAPACITY),
      totalLength: payload.length,
      ack: route,
    });
    bytes.copy(page, offset);
    const last = generationBytes(generation);
    last.bytes.copy(page, last.offset);
  });
  return nonce;
}
