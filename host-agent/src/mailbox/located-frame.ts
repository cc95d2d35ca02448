import { formatNonce } from '@offshoot/shared/mailbox/ack-line.js';
import type { FrameState } from '@offshoot/shared/mailbox/frame-layout.js';
import { tokenSha256, type FrameHeader } from '@offshoot/shared/mailbox/frame.js';

/** A valid frame and where it stands. Plain JSON, and without the token: its digest is enough to recognise it by. */
export interface LocatedFrame {
  readonly name: string;
  /** 64 hex digits; the first 16 are the fingerprint shown to callers. */
  readonly tokenSha256: string;
  /** Frame nonce, 16 hex digits. */
  readonly nonce: string;
  readonly segmentIndex: number;
  readonly segmentCount: number;
  readonly state: FrameState;
  readonly generation: number;
  /** Guest-physical address, page-aligned. */
  readonly gpa: number;
}

export function locatedFrame(header: FrameHeader, gpa: number): LocatedFrame {
  const { name, segmentIndex, segmentCount, state, generation } = header;
  return {
    name,
    tokenSha256: tokenSha256(header.token),
    nonce: formatNonce(header.nonce),
    segmentIndex,
    segmentCount,
    state,
    generation,
    gpa,
  };
}
