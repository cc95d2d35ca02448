import { InvalidInput, InvalidState, NotFound } from '@offshoot/shared/errors.js';
import type { ContentType } from '@offshoot/shared/mailbox/frame-layout.js';
import { tokenSha256 } from '@offshoot/shared/mailbox/frame.js';
import { MAX_FRAMES } from './frame-finder.js';
import type { IndexedMailbox } from './indexed-mailbox.js';
import type { MailboxLookup } from './mailbox-lookup.js';

/** A payload for one mailbox, as a caller asks for it. */
export interface DeliveryRequest {
  readonly name: string;
  /** Undefined: the name alone must be unique. */
  readonly token: string | undefined;
  readonly contentType: ContentType;
  readonly payload: Buffer;
}

/** A delivery that can be made: its mailbox is armed and whole, and the payload fits. */
export interface PlannedDelivery {
  readonly mailbox: IndexedMailbox;
  /** Guest-physical address of each segment. */
  readonly segmentAddresses: readonly number[];
  readonly contentType: ContentType;
  readonly payload: Buffer;
}

/** As many names as fit into an error's trailer with room to spare; a guest can arm thousands. */
const MAX_LISTED_NAMES = 20;

/**
 * Checks all deliveries of a fork before anything is written.
 * @throws NotFound (`MAILBOX_NOT_FOUND` with the names that are armed, `MAILBOX_TOKEN_MISMATCH`),
 *   InvalidState (`MAILBOX_NOT_ARMED`, `MAILBOX_AMBIGUOUS`, `MAILBOX_INCOMPLETE`, `MAILBOX_FRAMES_EXCESSIVE`),
 *   InvalidInput (`MAILBOX_PAYLOAD_TOO_LARGE`, `MAILBOX_DUPLICATE`)
 */
export function planDeliveries(lookup: MailboxLookup, requests: readonly DeliveryRequest[]): PlannedDelivery[] {
  const names = new Set<string>();
  return requests.map((request, index) => {
    if (names.has(request.name))
      throw InvalidInput.field(
        `mailboxes[${String(index)}].name`,
        `${request.name} is named twice`,
        'MAILBOX_DUPLICATE',
      );
    names.add(request.name);
    return plan(lookup, request, index);
  });
}

function plan(lookup: MailboxLookup, request: DeliveryRequest, index: number): PlannedDelivery {
  const { name, contentType, payload } = request;
  const named = lookup.named(name);
  if (lookup.limitReached && !named.some(({ registered }) => registered))
    throw new InvalidState(
      `mailbox ${name} is not registered, and the guest's memory holds more than ${String(MAX_FRAMES)} mailbox frames: it cannot be told whether there is exactly one of it`,
      { reason: 'MAILBOX_FRAMES_EXCESSIVE', metadata: { mailbox: name, limit: String(MAX_FRAMES) } },
    );
  const mailbox = theArmedOne(named.length === 0 ? notFound(lookup, name) : withToken(named, request), name);
  if (mailbox.duplicated) throw ambiguous(name, 'it stands in several places with the same nonce');
  const segmentAddresses = mailbox.segmentAddresses.filter((address) => address !== undefined);
  const missing = mailbox.segmentAddresses.length - segmentAddresses.length;
  if (missing > 0)
    throw new InvalidState(
      `mailbox ${name}: ${String(missing)} of its ${String(mailbox.segmentAddresses.length)} segments are not in the guest's memory; arm all of them before the instance is parked, and keep their pages from being swapped out`,
      { reason: 'MAILBOX_INCOMPLETE', metadata: { mailbox: name, missing_segments: String(missing) } },
    );
  if (payload.length > mailbox.capacityBytes) throw tooLarge(request, mailbox.capacityBytes, index);
  return { mailbox, segmentAddresses, contentType, payload };
}

function notFound(lookup: MailboxLookup, name: string): never {
  const { armedNames } = lookup;
  const listed = armedNames.slice(0, MAX_LISTED_NAMES);
  const more = armedNames.length - listed.length;
  const list = listed.length === 0 ? 'none' : listed.join(', ') + (more > 0 ? ` and ${String(more)} more` : '');
  throw new NotFound(`no mailbox ${name} in the source's memory; armed are: ${list}`, {
    reason: 'MAILBOX_NOT_FOUND',
    metadata: { mailbox: name, armed: listed.join(','), armed_count: String(armedNames.length) },
  });
}

function withToken(named: readonly IndexedMailbox[], { name, token }: DeliveryRequest): readonly IndexedMailbox[] {
  if (token === undefined) return named;
  const digest = tokenSha256(token);
  const matching = named.filter((mailbox) => mailbox.tokenSha256 === digest);
  if (matching.length > 0) return matching;
  throw new NotFound(`mailbox ${name} is there, but not with this token`, {
    reason: 'MAILBOX_TOKEN_MISMATCH',
    metadata: { mailbox: name },
  });
}

function theArmedOne(candidates: readonly IndexedMailbox[], name: string): IndexedMailbox {
  const [armed, ...others] = candidates.filter(({ state }) => state === 'armed');
  if (armed === undefined) {
    const states = [...new Set(candidates.map(({ state }) => state))].join(', ');
    throw new InvalidState(`mailbox ${name} is not armed but ${states}; the guest must arm it again first`, {
      reason: 'MAILBOX_NOT_ARMED',
      metadata: { mailbox: name, state: states },
    });
  }
  if (others.length > 0)
    throw ambiguous(name, `${String(others.length + 1)} armed frames bear the name and the token asked for, if any`);
  return armed;
}

const ambiguous = (name: string, why: string): InvalidState =>
  new InvalidState(
    `mailbox ${name} is ambiguous: ${why}; some may be stale copies in freed pages. Name the token of the one you mean, arm it again under a fresh token, or arm it through the guest agent, which tells the host where the live frame is`,
    { reason: 'MAILBOX_AMBIGUOUS', metadata: { mailbox: name } },
  );

function tooLarge({ name, contentType, payload }: DeliveryRequest, capacity: number, index: number): InvalidInput {
  const field = `mailboxes[${String(index)}].${contentType === 'json' ? 'json' : 'data'}`;
  const description = `must be at most ${String(capacity)} bytes, the capacity of mailbox ${name}, got ${String(payload.length)}`;
  return new InvalidInput(`${field}: ${description}`, {
    reason: 'MAILBOX_PAYLOAD_TOO_LARGE',
    metadata: { mailbox: name, payload_bytes: String(payload.length), capacity_bytes: String(capacity) },
    violations: [{ field, description }],
  });
}
