import type {
  HelloResponse,
  RegisteredMailbox as Registered,
} from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { Corrupt } from '@offshoot/shared/errors.js';
import { formatNonce } from '@offshoot/shared/mailbox/ack-line.js';
import {
  FRAME_SIZE,
  FRAME_STATE,
  MAILBOX_NAME_PATTERN,
  MAX_SEGMENTS,
  type FrameState,
} from '@offshoot/shared/mailbox/frame-layout.js';
import type { AgentInfo, RegisteredMailbox } from '../domain/instance.js';

/** Mailboxes an agent may hold. */
export const MAX_MAILBOXES = 256;

const corrupt = (what: string): Corrupt => new Corrupt(`guest: ${what}`, { reason: 'GUEST_MESSAGE_CORRUPT' });

function text(field: string, value: string, pattern: RegExp): string {
  if (!pattern.test(value)) throw corrupt(`${field} is malformed`);
  return value;
}

/** Checks what the agent says of itself. @throws Corrupt naming the field */
export function parseHello(answer: HelloResponse): AgentInfo {
  return {
    version: text('agent_version', answer.agentVersion, /^[A-Za-z0-9.+_-]{1,64}$/),
    bootId: text('boot_id', answer.bootId, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
    kernelRelease: text('kernel_release', answer.kernelRelease, /^[A-Za-z0-9.+_~-]{1,128}$/),
  };
}

const STATES = new Map<number, FrameState>(
  (Object.keys(FRAME_STATE) as FrameState[]).map((state) => [FRAME_STATE[state], state]),
);

function parseAddress(address: bigint): number {
  if (address <= 0n || address > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt('segment address out of range');
  if (address % BigInt(FRAME_SIZE) !== 0n) throw corrupt('segment address is not page-aligned');
  return Number(address);
}

function parseMailbox(answer: Registered): RegisteredMailbox {
  const count = answer.segmentAddresses.length;
  if (count < 1 || count > MAX_SEGMENTS) throw corrupt(`mailbox of ${String(count)} segments`);
  const segmentAddresses = answer.segmentAddresses.map(parseAddress);
  if (new Set(segmentAddresses).size < count) throw corrupt('two segments at one address');
  const state = STATES.get(answer.state);
  if (state === undefined) throw corrupt(`mailbox state ${String(answer.state)}`);
  return {
    name: text('mailbox name', answer.name, MAILBOX_NAME_PATTERN),
    tokenFingerprint: text('token fingerprint', answer.tokenFingerprint, /^[0-9a-f]{16}$/),
    nonce: formatNonce(answer.nonce),
    segmentAddresses,
    state,
    attached: answer.attached,
  };
}

/** Checks the set an agent registers. @throws Corrupt naming what is wrong */
export function parseMailboxes(answer: readonly Registered[]): readonly RegisteredMailbox[] {
  if (answer.length > MAX_MAILBOXES) throw corrupt(`${String(answer.length)} mailboxes`);
  const mailboxes = answer.map(parseMailbox);
  if (new Set(mailboxes.map(({ name }) => name)).size < mailboxes.length) throw corrupt('two mailboxes of one name');
  return mailboxes;
}

/** Checks a piece of output that should continue at `expected`. @throws Corrupt when it goes back or beyond all numbers */
export function parseOutputOffset(offset: bigint, length: number, expected: number): number {
  if (offset < BigInt(expected)) throw corrupt('workload output goes back');
  if (offset + BigInt(length) > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt('workload output offset out of range');
  return Number(offset);
}
