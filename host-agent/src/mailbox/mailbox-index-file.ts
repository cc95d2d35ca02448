import { readFile } from 'node:fs/promises';
import { FRAME_STATE, MAX_SEGMENTS, type FrameState } from '@offshoot/shared/mailbox/frame-layout.js';
import * as z from 'zod';
import type { Capture } from '../domain/instance.js';
import { replaceFile } from '../os/durable-file.js';
import type { FrameScan } from './frame-finder.js';
import type { LocatedFrame } from './located-frame.js';

/** What is kept of a capture's mailboxes, beside it. */
export interface IndexContents {
  /** Frames that stand where the guest agent said. */
  readonly registered: readonly LocatedFrame[];
  /** Undefined: nobody needed it yet. */
  readonly scan: FrameScan | undefined;
}

const count = z.int().nonnegative();
const frame = z.object({
  name: z.string(),
  tokenSha256: z.string().regex(/^[0-9a-f]{64}$/),
  nonce: z.string().regex(/^[0-9a-f]{16}$/),
  segmentIndex: count,
  segmentCount: z.int().min(1).max(MAX_SEGMENTS),
  state: z.enum(Object.keys(FRAME_STATE) as [FrameState, ...FrameState[]]),
  generation: count,
  gpa: count,
});
const indexFile = z.object({
  version: z.literal(1),
  takenAt: z.string(),
  memoryStamp: z.object({ size: z.number(), mtimeNs: z.string(), inode: z.string() }),
  registered: z.array(frame),
  scan: z
    .object({
      frames: z.array(frame),
      invalid: z.record(z.string(), count),
      limitReached: z.boolean(),
      bytesRead: count,
    })
    .optional(),
});

type CaptureKey = Pick<Capture, 'takenAt' | 'memoryStamp'>;

/** What was kept of this capture; undefined when nothing was, when it belongs to another one, or when it is damaged. */
export async function loadIndex(path: string, capture: CaptureKey): Promise<IndexContents | undefined> {
  let parsed: z.infer<typeof indexFile>;
  try {
    parsed = indexFile.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined; // whatever is wrong with it: it can be made again from the memory file
  }
  const { size, mtimeNs, inode } = capture.memoryStamp;
  const stamp = parsed.memoryStamp;
  const same =
    parsed.takenAt === capture.takenAt && stamp.size === size && stamp.mtimeNs === mtimeNs && stamp.inode === inode;
  return same ? { registered: parsed.registered, scan: parsed.scan } : undefined;
}

/** Not durable: after a power cut the index is made again. */
export async function saveIndex(path: string, capture: CaptureKey, contents: IndexContents): Promise<void> {
  const { takenAt, memoryStamp } = capture;
  await replaceFile(path, JSON.stringify({ version: 1, takenAt, memoryStamp, ...contents }), { durable: false });
}
