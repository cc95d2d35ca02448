import { readFileSync } from 'node:fs';
import type { AckReject, AckStage } from './ack-line.js';
import type { AckTransport, ContentType, FrameState } from './frame-layout.js';
import type { FrameProblem } from './frame.js';

/** Bytes that are not zero, and where. */
export interface GoldenRange {
  readonly offset: number;
  readonly hex: string;
}

/** As in `AckRoute`; numbers of 64 bits are 16 hex digits throughout. */
export interface GoldenRoute {
  readonly transport: AckTransport;
  readonly port: number;
  readonly address: string;
  readonly nonce: string;
}

/** A mailbox as whoever armed it knows it, and its pages as they stand. */
export interface GoldenMailbox {
  readonly title: string;
  readonly armed: {
    readonly name: string;
    readonly token: string;
    readonly nonce: string;
    readonly segmentCount: number;
  };
  readonly segments: readonly (readonly GoldenRange[])[];
}

/** What golden-vectors.json has: the judge of every reader and writer of mailboxes, whatever its language. */
export interface GoldenVectors {
  readonly frameSize: number;
  readonly frames: readonly {
    readonly title: string;
    readonly ranges: readonly GoldenRange[];
    readonly header: {
      readonly name: string;
      readonly token: string;
      readonly segmentIndex: number;
      readonly segmentCount: number;
      readonly nonce: string;
      readonly state: FrameState;
      readonly generation: number;
    };
    readonly delivery?: {
      readonly generation: number;
      readonly contentType: ContentType;
      readonly payload: string;
      readonly totalLength: number;
      readonly ack: GoldenRoute;
    };
  }[];
  readonly rejectedFrames: readonly {
    readonly title: string;
    readonly reader: 'header' | 'delivery';
    readonly problem: FrameProblem;
    readonly ranges: readonly GoldenRange[];
  }[];
  readonly mailboxes: readonly (GoldenMailbox & {
    readonly delivery: {
      readonly generation: number;
      readonly contentType: ContentType;
      readonly payload: { readonly length: number; readonly ranges: readonly GoldenRange[] };
      readonly ack: GoldenRoute;
    };
  })[];
  /** Nothing is wrong with them, and not every frame has its generation. */
  readonly incompleteMailboxes: readonly GoldenMailbox[];
  readonly rejectedMailboxes: readonly (GoldenMailbox & { readonly problem: FrameProblem })[];
  readonly acks: readonly {
    readonly line: string;
    /** A writer produces exactly this line; the others are only read. */
    readonly canonical: boolean;
    readonly ack: {
      readonly mailbox: string;
      readonly generation: number;
      readonly nonce: string;
      readonly stage: AckStage;
      readonly detail: string;
    };
  }[];
  readonly rejectedAcks: readonly { readonly line: string; readonly reject: AckReject }[];
  readonly ackOks: readonly { readonly line: string; readonly nonce: string }[];
  readonly rejectedAckOks: readonly string[];
  readonly tokens: readonly { readonly token: string; readonly sha256: string }[];
  readonly crc32: readonly { readonly hex: string; readonly value: number }[];
}

/** For tests, which run on the sources: the file is not part of what is built. */
export const readGoldenVectors = (): GoldenVectors =>
  JSON.parse(readFileSync(new URL('golden-vectors.json', import.meta.url), 'utf8')) as GoldenVectors;

export function bytesOfRanges(length: number, ranges: readonly GoldenRange[]): Buffer {
  const bytes = Buffer.alloc(length);
  for (const { offset, hex } of ranges) bytes.write(hex, offset, 'hex');
  return bytes;
}
