/**
 * Mailbox frame, version 1: one 4096-byte, page-aligned page of guest memory, little-endian. One page because a page
 * cannot straddle two physical pages; the ack fields sit beside the payload so that the caller's bytes are never edited.
 * This table is the only place in which an offset is written down; the codec, the finder and the tests read it.
 */
export const FRAME_SIZE = 4096;

/** 16 bytes, NUL included. */
export const FRAME_MAGIC = Buffer.from('OFFSHOOT-MBOX-1\0', 'latin1');

export const FRAME_LAYOUT = {
  magic: { offset: 0, size: 16, writtenBy: 'guest' },
  name: { offset: 16, size: 64, writtenBy: 'guest' },
  token: { offset: 80, size: 128, writtenBy: 'guest' },
  segmentIndex: { offset: 208, size: 2, writtenBy: 'guest' },
  segmentCount: { offset: 210, size: 2, writtenBy: 'guest' },
  state: { offset: 212, size: 4, writtenBy: 'both' },
  nonce: { offset: 216, size: 8, writtenBy: 'guest' },
  generation: { offset: 224, size: 4, writtenBy: 'host' },
  payloadLength: { offset: 228, size: 4, writtenBy: 'host' },
  payloadCrc32: { offset: 232, size: 4, writtenBy: 'host' },
  contentType: { offset: 236, size: 1, writtenBy: 'host' },
  ackTransport: { offset: 237, size: 1, writtenBy: 'host' },
  ackPort: { offset: 238, size: 2, writtenBy: 'host' },
  ackAddress: { offset: 240, size: 4, writtenBy: 'host' },
  totalLength: { offset: 244, size: 4, writtenBy: 'host' },
  ackNonce: { offset: 248, size: 8, writtenBy: 'host' },
  payload: { offset: 256, size: 3840, writtenBy: 'host' },
} as const;

/** Largest payload of one segment, in bytes. */
export const SEGMENT_CAPACITY = FRAME_LAYOUT.payload.size;

/** Segments a mailbox may have; 64 x 3840 bytes = 240 KiB. */
export const MAX_SEGMENTS = 64;

/** Largest payload of a mailbox, in bytes. */
export const MAX_PAYLOAD_BYTES = MAX_SEGMENTS * SEGMENT_CAPACITY;

export const FRAME_STATE = { armed: 1, delivered: 2, consumed: 3, disposed: 4 } as const;
export type FrameState = keyof typeof FRAME_STATE;

export const CONTENT_TYPE = { json: 1, bytes: 2 } as const;
export type ContentType = keyof typeof CONTENT_TYPE;

export const ACK_TRANSPORT = { none: 0, udp: 1, vsock: 2, channel: 3 } as const;
export type AckTransport = keyof typeof ACK_TRANSPORT;

/** Names guest software may use. */
export const MAILBOX_NAME_PATTERN = /^[A-Za-z0-9._:-]{1,64}$/;

/** Names that begin so belong to Offshoot itself. */
export const RESERVED_NAME_PREFIX = 'offshoot.';

/** Delivers who a fork is: addresses and names. The others belong to it and are not acknowledged by themselves. */
export const NETWORK_MAILBOX = 'offshoot.network';

/** Delivers the time at which a fork begins to run. */
export const CLOCK_MAILBOX = 'offshoot.clock';

/** Delivers random bytes that no other fork has. */
export const ENTROPY_MAILBOX = 'offshoot.entropy';

/** Delivers the secret by which a fork shows which instance it is. */
export const CREDENTIAL_MAILBOX = 'offshoot.credential';

/** Bids a VM walk through all that it does when it wakes in a fork, with the identity it has; then it is quicker in earnest. */
export const REHEARSAL_MAILBOX = 'offshoot.rehearsal';

/** Longest token, in bytes of UTF-8. */
export const MAX_TOKEN_BYTES = FRAME_LAYOUT.token.size;
