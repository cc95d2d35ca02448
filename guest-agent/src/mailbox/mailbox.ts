import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { Corrupt, messageOf } from '@offshoot/shared/errors.js';
import {
  deliveryBytes,
  generationBytes,
  readFrameHeader,
  tokenFingerprint,
  type AckRoute,
} from '@offshoot/shared/mailbox/frame.js';
import { FRAME_STATE, type ContentType } from '@offshoot/shared/mailbox/frame-layout.js';
import {
  armSegments,
  consumeSegments,
  isTouched,
  readSegments,
  type Delivery,
  type MailboxMarker,
  type SegmentPages,
} from '@offshoot/shared/mailbox/segments.js';
import { FramePage } from '../os/frame-page.js';
import { randomBytes } from '../os/kernel-random.js';

/** Random bytes of a token that nobody chose. */
const TOKEN_BYTES = 16;

/** What {@link Mailbox.look} found: a delivery, or one that is torn. */
export type Found = { readonly delivery: Delivery } | { readonly corrupt: Corrupt };

/** How to arm. */
export interface Arming {
  /** The one it has, or a random one, when left out. */
  readonly token?: string | undefined;
  /** Frames of 3840 bytes of payload each; as many as it has, or one, when left out. */
  readonly segments?: number | undefined;
}

/** One named mailbox in this VM's memory, from arming to disposal. Its frames are pages anywhere in memory. */
export class Mailbox {
  private readonly pages: FramePage[] = [];
  private bytes: SegmentPages = [];
  private marker: MailboxMarker;
  private state: 'armed' | 'consumed' = 'armed';

  constructor(
    readonly name: string,
    arming: Arming = {},
  ) {
    this.marker = { name, token: arming.token ?? randomBytes(TOKEN_BYTES).toString('hex'), nonce: 0n };
    this.arm(arming);
  }

  get token(): string {
    return this.marker.token;
  }

  /** Arms the frames anew, with a new nonce; what was in them is gone. */
  arm({ token = this.marker.token, segments = Math.max(1, this.pages.length) }: Arming = {}): void {
    while (this.pages.length > segments) this.pages.pop()?.giveBack();
    while (this.pages.length < segments) this.pages.push(FramePage.take());
    this.bytes = this.pages.map(({ bytes }) => bytes);
    this.marker = { name: this.name, token, nonce: randomBytes(8).readBigUInt64LE() };
    armSegments(this.bytes, this.marker);
    this.state = 'armed';
  }

  /**
   * Takes a delivery out of the frames, once, and leaves nothing of its payload there; undefined when there is none. Costs
   * one read of memory a frame when there is none. The host writes while this VM stands still, so some frames with and some
   * without a generation are a delivery that is broken, not one that is under way.
   */
  look(): Found | undefined {
    if (this.state !== 'armed' || !isTouched(this.bytes)) return undefined;
    this.state = 'consumed';
    try {
      return { delivery: readSegments(this.bytes, this.marker) };
    } catch (error) {
      const corrupt =
        error instanceof Corrupt
          ? error
          : new Corrupt(messageOf(error), { reason: 'MAILBOX_FRAME_CORRUPT', cause: error });
      return { corrupt };
    } finally {
      consumeSegments(this.bytes);
    }
  }

  /** Fills the first frame as the host does a paused VM's, for an agent that tries its wake. */
  deliver(payload: Buffer, ack: AckRoute, contentType: ContentType = 'json'): void {
    const [page] = this.bytes;
    if (page === undefined) return;
    const header = readFrameHeader(page);
    const generation = header.generation + 1;
    const delivery = { generation, contentType, payload, totalLength: payload.length, ack };
    for (const { offset, bytes } of [deliveryBytes(header, delivery), generationBytes(generation)])
      bytes.copy(page, offset);
  }

  /** What the host is told of it; undefined when the kernel does not say where the pages are. */
  registration(): RegisteredMailbox | undefined {
    const segmentAddresses = this.pages
      .map((page) => page.physicalAddress())
      .filter((address) => address !== undefined);
    if (segmentAddresses.length < this.pages.length) return undefined;
    return {
      name: this.name,
      tokenFingerprint: tokenFingerprint(this.marker.token),
      nonce: this.marker.nonce,
      segmentAddresses,
      state: FRAME_STATE[this.state],
      attached: false,
    };
  }

  /** Wipes the frames. The mailbox must not be used after that. */
  dispose(): void {
    for (const page of this.pages.splice(0)) page.giveBack();
    this.bytes = [];
  }
}
