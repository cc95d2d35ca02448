import { InvalidInput } from '../errors.js';
import { MAILBOX_NAME_PATTERN } from './frame-layout.js';

/**
 * The acknowledgement: one line of ASCII,
 * `offshoot-ack v=1 mailbox=<name> generation=<n> nonce=<16 hex> stage=<received|applied|failed> [detail=<percent-encoded>]`.
 * The host answers `offshoot-ack-ok nonce=<16 hex>`; until it does, the guest repeats.
 */
export type AckStage = 'received' | 'applied' | 'failed';

export interface Ack {
  readonly mailbox: string;
  readonly generation: number;
  /** Of the delivery, not of the frame. */
  readonly nonce: bigint;
  readonly stage: AckStage;
  /** The guest's own words; empty when it said none. */
  readonly detail: string;
}

/** Longest line, in bytes; a datagram of this size crosses any link unfragmented. */
export const MAX_ACK_BYTES = 1200;

const PREFIX = 'offshoot-ack';
const OK_PREFIX = 'offshoot-ack-ok';
const STAGES: readonly string[] = ['received', 'applied', 'failed'] satisfies AckStage[];
const REQUIRED_KEYS = ['v', 'mailbox', 'generation', 'nonce', 'stage'] as const;
const KNOWN_KEYS: readonly string[] = [...REQUIRED_KEYS, 'detail'];
const NONCE = /^[0-9a-f]{16}$/;

/** A nonce as it stands on the wire. */
export const formatNonce = (nonce: bigint): string => nonce.toString(16).padStart(16, '0');

/** Every byte outside `A-Z a-z 0-9 - _ . ~` becomes %XX. */
const encodeDetail = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** The line for an ack. A detail that would make it too long is cut at a character. */
export function formatAck(ack: Ack): string {
  const head = `${PREFIX} v=1 mailbox=${ack.mailbox} generation=${String(ack.generation)} nonce=${formatNonce(ack.nonce)} stage=${ack.stage}`;
  if (ack.detail === '') return head;
  let encoded = '';
  const wellFormed = Buffer.from(ack.detail, 'utf8').toString('utf8'); // a lone surrogate would make encoding throw
  for (const character of wellFormed) {
    const next = encodeDetail(character);
    if (head.length + ' detail='.length + encoded.length + next.length > MAX_ACK_BYTES) break;
    encoded += next;
  }
  return `${head} detail=${encoded}`;
}

/** Why a datagram is not an ack; the reasons are the labels of the reject counters. */
export type AckReject =
  'too-long' | 'not-ascii' | 'malformed' | 'unknown-key' | 'repeated-key' | 'missing-key' | 'bad-value';

export type AckParse = { readonly ok: true; readonly ack: Ack } | { readonly ok: false; readonly reject: AckReject };

const reject = (reason: AckReject): AckParse => ({ ok: false, reject: reason });

function decodeDetail(text: string): string | undefined {
  if (!/^(?:[A-Za-z0-9\-_.~]|%[0-9A-F]{2})*$/.test(text)) return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Exact parse: known keys, each once, exact values, single spaces. Anything else is a reject, never "contains". */
export function parseAck(datagram: Buffer): AckParse {
  if (datagram.length > MAX_ACK_BYTES) return reject('too-long');
  if (datagram.some((byte) => byte < 0x20 || byte > 0x7e)) return reject('not-ascii');
  const [prefix, ...pairs] = datagram.toString('latin1').split(' ');
  if (prefix !== PREFIX) return reject('malformed');
  const values = new Map<string, string>();
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    if (equals < 1) return reject('malformed');
    const key = pair.slice(0, equals);
    if (!KNOWN_KEYS.includes(key)) return reject('unknown-key');
    if (values.has(key)) return reject('repeated-key');
    values.set(key, pair.slice(equals + 1));
  }
  const [version, mailbox, generation, nonce, stage] = REQUIRED_KEYS.map((key) => values.get(key));
  if (
    version === undefined ||
    mailbox === undefined ||
    generation === undefined ||
    nonce === undefined ||
    stage === undefined
  )
    return reject('missing-key');
  const detail = decodeDetail(values.get('detail') ?? '');
  const number = Number(generation);
  const exact =
    version === '1' &&
    MAILBOX_NAME_PATTERN.test(mailbox) &&
    /^[1-9][0-9]{0,9}$/.test(generation) &&
    number <= 0xffffffff &&
    NONCE.test(nonce) &&
    STAGES.includes(stage);
  if (!exact || detail === undefined) return reject('bad-value');
  return {
    ok: true,
    ack: { mailbox, generation: number, nonce: BigInt(`0x${nonce}`), stage: stage as AckStage, detail },
  };
}

export const formatAckOk = (nonce: bigint): string => `${OK_PREFIX} nonce=${formatNonce(nonce)}`;

/** The nonce of an `offshoot-ack-ok` line; undefined for anything else. */
export function parseAckOk(datagram: Buffer): bigint | undefined {
  const match = /^offshoot-ack-ok nonce=([0-9a-f]{16})$/.exec(datagram.toString('latin1'));
  return match?.[1] === undefined ? undefined : BigInt(`0x${match[1]}`);
}

/** @throws InvalidInput unless `name` can be the name of a mailbox */
export function checkMailboxName(field: string, name: string): void {
  if (!MAILBOX_NAME_PATTERN.test(name))
    throw InvalidInput.field(
      field,
      `must be 1 to 64 of A-Z a-z 0-9 . _ : -, got ${JSON.stringify(name)}`,
      'MAILBOX_NAME_MALFORMED',
    );
}
