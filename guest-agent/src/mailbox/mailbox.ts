import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { Corrupt, messageOf } from '@offshoot/shared/errors.js';
import {
  armFrame,
  readDelivery,
  readFrameHeader,
  readGeneration,
  tokenFingerprint,
  writeFrameState,
  type SegmentDelivery,
} from '@offshoot/shared/mailbox/frame.js';
import { FRAME_STATE } from '@offshoot/shared/mailbox/frame-layout.js';
import { FramePage } from '../os/frame-page.js';
import { randomBytes } from '../os/kernel-random.js';

/** Random bytes of a token that nobody chose. */
const TOKEN_BYTES = 16;

/** What {@link Mailbox.look} found: a delivery, or one that is torn. */
export type Found = { readonly delivery: SegmentDelivery } | { readonly corrupt: Corrupt };

/** One named frame in this VM's memory, from arming to disposal. One segment: 3840 bytes of payload. */
export class Mailbox {
  private readonly page = FramePage.take();
  private nonce = 0n;
  private state: 'armed' | 'consumed' = 'armed';
  private secret = '';

  constructor(
    readonly name: string,
    token?: string,
  ) {
    this.arm(token);
  }

  get token(): string {
    return this.secret;
  }

  /** Arms the frame anew, with a new nonce; without a token it keeps the one it has, or gets a random one. */
  arm(token?: string): void {
    this.secret = token ?? (this.secret === '' ? randomBytes(TOKEN_BYTES).toString('hex') : this.secret);
    this.nonce = randomBytes(8).readBigUInt64LE();
    armFrame(this.page.bytes, {
      name: this.name,
      token: this.secret,
      segmentIndex: 0,
      segmentCount: 1,
      nonce: this.nonce,
    });
    this.state = 'armed';
  }

  /** Takes a delivery out of the frame, once; undefined when there is none. Costs one read of memory when there is none. */
  look(): Found | undefined {
    if (this.state !== 'armed' || readGeneration(this.page.bytes) === 0) return undefined;
    this.state = 'consumed';
    try {
      const header = readFrameHeader(this.page.bytes);
      if (header.state !== 'delivered' || header.name !== this.name || header.nonce !== this.nonce)
        throw new Corrupt('the delivery is not for this frame', { reason: 'MAILBOX_FRAME_CORRUPT' });
      const delivery = readDelivery(this.page.bytes);
      if (delivery.totalLength !== delivery.payload.length)
        throw new Corrupt('the delivery has more than one segment', { reason: 'MAILBOX_FRAME_CORRUPT' });
      return { delivery };
    } catch (error) {
      const corrupt =
        error instanceof Corrupt
          ? error
          : new Corrupt(messageOf(error), { reason: 'MAILBOX_FRAME_CORRUPT', cause: error });
      return { corrupt };
    } finally {
      writeFrameState(this.page.bytes, 'consumed');
    }
  }

  /** What the host is told of it; undefined when the kernel does not say where the page is. */
  registration(): RegisteredMailbox | undefined {
    const address = this.page.physicalAddress();
    if (address === undefined) return undefined;
    return {
      name: this.name,
      tokenFingerprint: tokenFingerprint(this.secret),
      nonce: this.nonce,
      segmentAddresses: [address],
      state: FRAME_STATE[this.state],
    };
  }

  /** Wipes the frame. The mailbox must not be used after that. */
  dispose(): void {
    this.page.giveBack();
  }
}
