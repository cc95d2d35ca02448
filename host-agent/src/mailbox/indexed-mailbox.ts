import { SEGMENT_CAPACITY, type FrameState } from '@offshoot/shared/mailbox/frame-layout.js';
import type { RegisteredMailbox } from '../domain/instance.js';
import type { LocatedFrame } from './located-frame.js';

/** A mailbox of a capture: the frames that belong together by name, token, nonce and segment count. */
export interface IndexedMailbox {
  readonly name: string;
  readonly tokenSha256: string;
  /** First 16 hex digits of the token's SHA-256. */
  readonly tokenFingerprint: string;
  /** Frame nonce, 16 hex digits. */
  readonly nonce: string;
  /** As all of its frames say; where they differ, that of the first which is not armed. */
  readonly state: FrameState;
  /** Highest of its frames. */
  readonly generation: number;
  readonly capacityBytes: number;
  /** Whether the guest agent told us of it; otherwise only a scan found it. */
  readonly registered: boolean;
  /** Whose memory it is in. */
  readonly armedBy: 'agent' | 'program';
  /** Guest-physical address of each segment; undefined for one that is not in memory. */
  readonly segmentAddresses: readonly (number | undefined)[];
  /** Whether a segment stands in several places, and nothing says which of them the guest reads. */
  readonly duplicated: boolean;
}

/** Whether every segment was found, once. */
export const isWhole = (mailbox: IndexedMailbox): boolean =>
  !mailbox.duplicated && !mailbox.segmentAddresses.includes(undefined);

/**
 * Puts frames together to mailboxes. Of the copies a guest leaves in freed pages, a registration tells the live frame:
 * by its address among equal frames, and by its nonce among equal names, so that under a name with a registered mailbox
 * no other is listed. A registration whose nonce stands nowhere in `frames` counts for nothing.
 */
export function assembleMailboxes(
  frames: readonly LocatedFrame[],
  registrations: readonly RegisteredMailbox[],
): IndexedMailbox[] {
  const groups = new Map<string, FrameGroup>();
  for (const frame of frames) {
    const group = groups.get(keyOf(frame));
    if (group === undefined) groups.set(keyOf(frame), [frame]);
    else group.push(frame);
  }
  const registered = new Map(registrations.map((registration) => [registrationKey(registration), registration]));
  const mailboxes = [...groups.values()].map((group) => assemble(group, registered));
  const registeredNames = new Set(mailboxes.filter((mailbox) => mailbox.registered).map(({ name }) => name));
  return mailboxes.filter((mailbox) => mailbox.registered || !registeredNames.has(mailbox.name));
}

/** A registration says whose memory it is; frames that only a scan finds, a program made. */
export const armedBy = (registration: RegisteredMailbox | undefined): 'agent' | 'program' =>
  registration === undefined || registration.attached ? 'program' : 'agent';

/** Never empty. */
type FrameGroup = [LocatedFrame, ...LocatedFrame[]];

// None of the parts can contain a space.
const keyOf = (frame: LocatedFrame): string =>
  `${frame.name} ${frame.tokenSha256} ${frame.nonce} ${String(frame.segmentCount)}`;

const registrationKey = ({
  name,
  tokenFingerprint,
  nonce,
}: Pick<RegisteredMailbox, 'name' | 'tokenFingerprint' | 'nonce'>): string => `${name} ${tokenFingerprint} ${nonce}`;

function assemble(group: FrameGroup, registrations: ReadonlyMap<string, RegisteredMailbox>): IndexedMailbox {
  const [first] = group;
  const tokenFingerprint = first.tokenSha256.slice(0, 16);
  const registration = registrations.get(registrationKey({ ...first, tokenFingerprint }));
  let duplicated = false;
  const segments = Array.from({ length: first.segmentCount }, (_, index) => {
    const copies = group.filter((frame) => frame.segmentIndex === index);
    const live = copies.find(({ gpa }) => gpa === registration?.segmentAddresses[index]);
    if (live === undefined && copies.length > 1) duplicated = true;
    return live ?? copies[0];
  });
  const present = segments.filter((frame) => frame !== undefined);
  return {
    name: first.name,
    tokenSha256: first.tokenSha256,
    tokenFingerprint,
    nonce: first.nonce,
    state: present.find(({ state }) => state !== 'armed')?.state ?? 'armed',
    generation: Math.max(...present.map(({ generation }) => generation)),
    capacityBytes: first.segmentCount * SEGMENT_CAPACITY,
    registered: registration !== undefined,
    armedBy: armedBy(registration),
    segmentAddresses: segments.map((frame) => frame?.gpa),
    duplicated,
  };
}
