import { ok, strictEqual } from 'node:assert/strict';
import { OffshootError } from '@offshoot/shared/errors.js';
import type { FrameState } from '@offshoot/shared/mailbox/frame-layout.js';
import { tokenSha256 } from '@offshoot/shared/mailbox/frame.js';
import { noises, type Noise } from '@offshoot/shared/testing/noise.js';
import { FUZZ_TIMEOUT_MS, holds } from '@offshoot/shared/testing/property.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RegisteredMailbox } from '../domain/instance.js';
import { planDeliveries, type DeliveryRequest, type PlannedDelivery } from './delivery-plan.js';
import { assembleMailboxes } from './indexed-mailbox.js';
import type { LocatedFrame } from './located-frame.js';
import { MailboxLookup } from './mailbox-lookup.js';

// Few values each, so that frames often are copies of each other in all but one thing.
const NAMES = ['task', 'other'] as const;
const TOKENS = ['tk', 'secret'] as const;
const DIGESTS = new Map(TOKENS.map((token) => [token as string, tokenSha256(token)]));
const digestOf = (token: string): string => DIGESTS.get(token) ?? '';
const NONCES = ['0000000000000001', '00000000000000ff'] as const;
const PAGE = 4096;

/** What a guest's memory holds, and what its agent says of it. */
interface World {
  readonly frames: readonly LocatedFrame[];
  readonly registrations: readonly RegisteredMailbox[];
  readonly limitReached: boolean;
}

/** One mailbox of one to three frames, whole more often than not. */
function someMailbox(noise: Noise): Omit<LocatedFrame, 'gpa'>[] {
  const common = {
    name: noise.pick(NAMES),
    tokenSha256: digestOf(noise.pick(TOKENS)),
    nonce: noise.pick(NONCES),
    segmentCount: 1 + noise.below(3),
    generation: noise.below(3),
  };
  const frames = Array.from({ length: common.segmentCount }, (_, segmentIndex) => ({
    ...common,
    segmentIndex,
    state: noise.once(4) ? noise.pick<FrameState>(['delivered', 'consumed', 'disposed']) : 'armed',
  }));
  if (noise.once(4)) frames.splice(noise.below(frames.length), 1); // a segment that was swapped out
  if (noise.once(4)) frames.push(...frames.slice(0, 1)); // a copy in a freed page
  return frames;
}

/** Says where a mailbox is: rightly, of an earlier arming, at another address, over a hole or outside RAM. */
function someRegistration(noise: Noise, name: string, frames: readonly LocatedFrame[]): RegisteredMailbox {
  const named = frames.filter((frame) => frame.name === name);
  const meant = named[noise.below(named.length)];
  const segmentAddresses = Array.from({ length: meant?.segmentCount ?? 1 }, (_, index) => {
    const copies = named.filter(({ nonce, segmentIndex }) => nonce === meant?.nonce && segmentIndex === index);
    return noise.once(4) ? noise.pick([PAGE * 999, 2 ** 52]) : (copies[noise.below(copies.length)]?.gpa ?? 2 ** 52);
  });
  return {
    name,
    tokenFingerprint: (meant?.tokenSha256 ?? digestOf('tk')).slice(0, 16),
    nonce: noise.once(4) ? 'ffffffffffffffff' : (meant?.nonce ?? NONCES[0]),
    segmentAddresses,
    state: 'armed',
    attached: noise.once(2),
  };
}

function someWorld(noise: Noise): World {
  const frames = Array.from({ length: noise.below(4) }, () => someMailbox(noise))
    .flat()
    .map((frame, at) => ({ ...frame, gpa: at * PAGE }));
  const registered = NAMES.filter(() => noise.once(2));
  return {
    frames,
    registrations: registered.map((name) => someRegistration(noise, name, frames)),
    limitReached: noise.once(8),
  };
}

function someRequest(noise: Noise): DeliveryRequest {
  return {
    name: noise.pick([...NAMES, 'task', 'absent']),
    token: noise.pick([undefined, undefined, ...TOKENS, 'guess']),
    contentType: 'bytes',
    payload: Buffer.alloc(noise.pick([0, 1, 3840, 3841, 2 * 3840, 3 * 3840, 3 * 3840 + 1])),
  };
}

const registrationOf = ({ registrations }: World, frame: LocatedFrame): RegisteredMailbox | undefined =>
  registrations.find(
    ({ name, nonce, tokenFingerprint }) =>
      frame.name === name && frame.nonce === nonce && frame.tokenSha256.startsWith(tokenFingerprint),
  );

/** The frames that a request can mean: where the agent spoke of one that is there, only what it spoke of. */
function meantBy(world: World, { name, token }: DeliveryRequest): LocatedFrame[] {
  const named = world.frames.filter((frame) => frame.name === name);
  const told = named.filter((frame) => registrationOf(world, frame) !== undefined);
  return (told.length > 0 ? told : named).filter(
    ({ tokenSha256: digest }) => token === undefined || digest === tokenSha256(token),
  );
}

const sameMailbox = (a: LocatedFrame, b: LocatedFrame): boolean =>
  a.tokenSha256 === b.tokenSha256 && a.nonce === b.nonce && a.segmentCount === b.segmentCount;

/** The addresses of a mailbox that nobody could mistake; undefined where there is a doubt. */
function withoutDoubt(world: World, request: DeliveryRequest): number[] | undefined {
  const meant = meantBy(world, request);
  const [first] = meant;
  if (first === undefined || !meant.every((frame) => frame.state === 'armed' && sameMailbox(frame, first)))
    return undefined;
  if (world.limitReached && registrationOf(world, first) === undefined) return undefined;
  if (request.payload.length > first.segmentCount * 3840 || meant.length !== first.segmentCount) return undefined;
  const addresses = Array.from({ length: first.segmentCount }, (_, index) =>
    meant.find(({ segmentIndex }) => segmentIndex === index),
  );
  return addresses.every((frame) => frame !== undefined) ? addresses.map(({ gpa }) => gpa) : undefined;
}

/** Everything that has to be true of a delivery that is allowed. */
function isSound(world: World, request: DeliveryRequest, { segmentAddresses, mailbox }: PlannedDelivery): void {
  const meant = meantBy(world, request);
  const frames = segmentAddresses.map((gpa) => meant.find((frame) => frame.gpa === gpa));
  const [first] = frames;
  ok(first);
  strictEqual(frames.length, first.segmentCount);
  const registration = registrationOf(world, first);
  ok(registration !== undefined || !world.limitReached);
  strictEqual(mailbox.registered, registration !== undefined);
  strictEqual(mailbox.generation, Math.max(...frames.map((frame) => frame!.generation)));
  ok(request.payload.length <= frames.length * 3840);
  frames.forEach((frame, index) => {
    ok(frame && sameMailbox(frame, first) && frame.state === 'armed' && frame.segmentIndex === index);
    const copies = meant.filter((other) => sameMailbox(other, frame) && other.segmentIndex === index);
    ok(copies.length === 1 || registration?.segmentAddresses[index] === frame.gpa);
  });
  // No other one is armed: whatever else could have been meant has a segment that is not.
  const others = meant.filter((other) => !sameMailbox(other, first));
  for (const other of others) ok(others.some((frame) => sameMailbox(frame, other) && frame.state !== 'armed'));
}

const REFUSALS = [
  ...['MAILBOX_NOT_FOUND', 'MAILBOX_TOKEN_MISMATCH', 'MAILBOX_NOT_ARMED', 'MAILBOX_AMBIGUOUS', 'MAILBOX_INCOMPLETE'],
  ...['MAILBOX_FRAMES_EXCESSIVE', 'MAILBOX_PAYLOAD_TOO_LARGE'],
];

/** What has to be true of the world for a refusal to give this reason. */
function isGrounded(world: World, request: DeliveryRequest, reason: string): boolean {
  const named = world.frames.filter(({ name }) => name === request.name);
  const meant = meantBy(world, request);
  switch (reason) {
    case 'MAILBOX_NOT_FOUND':
      return named.length === 0;
    case 'MAILBOX_TOKEN_MISMATCH':
      return named.length > 0 && meant.length === 0;
    case 'MAILBOX_NOT_ARMED':
      return meant.some(({ state }) => state !== 'armed');
    case 'MAILBOX_FRAMES_EXCESSIVE':
      return world.limitReached;
    case 'MAILBOX_AMBIGUOUS':
      return meant.some((a) => meant.some((b) => a !== b && (!sameMailbox(a, b) || a.segmentIndex === b.segmentIndex)));
    case 'MAILBOX_INCOMPLETE':
      return meant.some(
        (a) => new Set(meant.filter((b) => sameMailbox(a, b)).map((b) => b.segmentIndex)).size < a.segmentCount,
      );
    case 'MAILBOX_PAYLOAD_TOO_LARGE':
      return meant.some(({ segmentCount }) => request.payload.length > segmentCount * 3840);
    default:
      return false;
  }
}

describe('in any guest memory, with whatever its agent says of it', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('a delivery is planned for the one mailbox it can mean, whole and armed, and refused with what is wrong', () => {
    const seen = new Map<string, number>();
    holds(
      fc.property(noises, (noise) => {
        const world = someWorld(noise);
        const request = someRequest(noise);
        const lookup = new MailboxLookup(assembleMailboxes(world.frames, world.registrations), world.limitReached);
        const expected = withoutDoubt(world, request);
        let outcome = 'planned';
        try {
          const [planned] = planDeliveries(lookup, [request]);
          isSound(world, request, planned!);
          if (expected !== undefined) strictEqual(planned!.segmentAddresses.join(), expected.join());
        } catch (error) {
          if (!(error instanceof OffshootError)) throw error;
          outcome = error.reason;
          strictEqual(expected, undefined, `refused with ${outcome}`);
          ok(isGrounded(world, request, outcome), outcome);
        }
        seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      }),
    );
    expect([...seen.keys()].sort()).toEqual(['planned', ...REFUSALS].sort());
  });
});
