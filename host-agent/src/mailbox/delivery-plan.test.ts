import { OffshootError } from '@offshoot/shared/errors.js';
import { parseFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { describe, expect, it } from 'vitest';
import { planDeliveries, type DeliveryRequest } from './delivery-plan.js';
import { assembleMailboxes } from './indexed-mailbox.js';
import { locatedFrame } from './located-frame.js';
import { MailboxLookup } from './mailbox-lookup.js';
import { framePage, registrationOf, type TestFrame } from './test-memory.js';

function lookupOf(
  frames: readonly TestFrame[],
  options: { registered?: TestFrame[]; limited?: boolean } = {},
): MailboxLookup {
  const located = frames.map((frame) => {
    const parse = parseFrameHeader(framePage(frame));
    if (!parse.ok) throw new Error(parse.description);
    return locatedFrame(parse.header, frame.gpa);
  });
  const mailboxes = assembleMailboxes(located, (options.registered ?? []).map(registrationOf));
  return new MailboxLookup(mailboxes, options.limited ?? false);
}

const request = (overrides: Partial<DeliveryRequest> = {}): DeliveryRequest => ({
  name: 'task',
  token: undefined,
  contentType: 'json',
  payload: Buffer.from('"classified"'),
  ...overrides,
});

function refusal(lookup: MailboxLookup, ...requests: DeliveryRequest[]): OffshootError {
  try {
    planDeliveries(lookup, requests);
  } catch (error) {
    if (error instanceof OffshootError) {
      expect(`${error.message}${JSON.stringify(error.metadata)}`).not.toMatch(/classified|secret/);
      return error;
    }
    throw error;
  }
  throw new Error('not refused');
}

describe('preflight of deliveries', () => {
  it('plans each request for its armed mailbox, in order', () => {
    const lookup = lookupOf([{ gpa: 0 }, { gpa: 4096, name: 'other', segmentCount: 1 }]);
    const plans = planDeliveries(lookup, [request({ name: 'other' }), request({ token: 'tk' })]);
    expect(plans).toMatchObject([{ segmentAddresses: [4096] }, { segmentAddresses: [0], contentType: 'json' }]);
  });

  it('refuses an unknown name and lists those that are armed, the reserved ones left out', () => {
    const frames = [
      { gpa: 0, name: 'zeta' },
      { gpa: 4096, name: 'alpha' },
      { gpa: 8192, name: 'used', state: 'consumed' as const },
      { gpa: 12288, name: 'offshoot.network' },
    ];
    expect(refusal(lookupOf(frames), request())).toMatchObject({
      kind: 'NotFound',
      reason: 'MAILBOX_NOT_FOUND',
      message: "no mailbox task in the source's memory; armed are: alpha, zeta",
      metadata: { mailbox: 'task', armed: 'alpha,zeta', armed_count: '2' },
    });
    expect(refusal(lookupOf([]), request()).message).toMatch(/armed are: none$/);
  });

  it('lists no more names than an error can carry', () => {
    const frames = Array.from({ length: 3000 }, (_, i) => ({ gpa: i * 4096, name: `m${String(i)}`.padEnd(64, 'x') }));
    const { message, metadata } = refusal(lookupOf(frames), request());
    expect(message).toMatch(/ and 2980 more$/);
    expect(metadata).toMatchObject({ armed_count: '3000' });
    expect(message.length + JSON.stringify(metadata).length).toBeLessThan(4096);
  });

  it('refuses a wrong token', () => {
    const lookup = lookupOf([{ gpa: 0, token: 'the-secret' }]);
    expect(refusal(lookup, request({ token: 'a-secret' }))).toMatchObject({
      kind: 'NotFound',
      reason: 'MAILBOX_TOKEN_MISMATCH',
    });
  });

  it('does not look past a registered mailbox for a token', () => {
    const registered = { gpa: 0, token: 'live' };
    const lookup = lookupOf([registered, { gpa: 4096, token: 'stale', nonce: 2n }], { registered: [registered] });
    expect(refusal(lookup, request({ token: 'stale' })).reason).toBe('MAILBOX_TOKEN_MISMATCH');
    expect(planDeliveries(lookup, [request()])).toMatchObject([{ segmentAddresses: [0] }]);
  });

  it.each(['delivered', 'consumed', 'disposed'] as const)('refuses a mailbox that is %s', (state) => {
    expect(refusal(lookupOf([{ gpa: 0, state }]), request())).toMatchObject({
      kind: 'InvalidState',
      reason: 'MAILBOX_NOT_ARMED',
      metadata: { state },
    });
  });

  it('takes the armed one of several of a name', () => {
    const lookup = lookupOf([
      { gpa: 0, state: 'consumed' },
      { gpa: 4096, nonce: 2n },
    ]);
    expect(planDeliveries(lookup, [request()])).toMatchObject([{ segmentAddresses: [4096] }]);
  });

  it('refuses several armed ones and says how to tell them apart', () => {
    const lookup = lookupOf([{ gpa: 0 }, { gpa: 4096, nonce: 2n, token: 'other' }]);
    expect(refusal(lookup, request())).toMatchObject({
      kind: 'InvalidState',
      reason: 'MAILBOX_AMBIGUOUS',
      message: expect.stringMatching(/Name the token.*through the guest agent/s) as string,
    });
    expect(planDeliveries(lookup, [request({ token: 'other' })])).toMatchObject([{ segmentAddresses: [4096] }]);
  });

  it('refuses a frame that stands twice, token or not', () => {
    const lookup = lookupOf([{ gpa: 0 }, { gpa: 4096 }]);
    expect(refusal(lookup, request({ token: 'tk' })).reason).toBe('MAILBOX_AMBIGUOUS');
  });

  it('refuses a mailbox of which a segment is missing', () => {
    const lookup = lookupOf([
      { gpa: 0, segmentCount: 3 },
      { gpa: 4096, segmentCount: 3, segmentIndex: 2 },
    ]);
    expect(refusal(lookup, request())).toMatchObject({
      kind: 'InvalidState',
      reason: 'MAILBOX_INCOMPLETE',
      metadata: { missing_segments: '1' },
    });
  });

  it('refuses a payload over the capacity with both sizes, and takes one of exactly the capacity', () => {
    const lookup = lookupOf([{ gpa: 0, name: 'other' }, { gpa: 4096 }]);
    const of = (bytes: number): DeliveryRequest =>
      request({ contentType: 'bytes', payload: Buffer.alloc(bytes, 'secret') });
    const field = 'mailboxes[1].data';
    expect(refusal(lookup, request({ name: 'other' }), of(3841))).toMatchObject({
      kind: 'InvalidInput',
      reason: 'MAILBOX_PAYLOAD_TOO_LARGE',
      message: `${field}: must be at most 3840 bytes, the capacity of mailbox task, got 3841`,
      metadata: { payload_bytes: '3841', capacity_bytes: '3840' },
      violations: [{ field }],
    });
    expect(planDeliveries(lookup, [of(3840)])).toHaveLength(1);
  });

  it('refuses a name that is requested twice', () => {
    expect(refusal(lookupOf([{ gpa: 0 }]), request(), request())).toMatchObject({
      kind: 'InvalidInput',
      reason: 'MAILBOX_DUPLICATE',
    });
  });

  it('trusts only registered mailboxes in a memory that is full of frames', () => {
    const registered = { gpa: 0 };
    const lookup = lookupOf([registered, { gpa: 4096, name: 'other' }], { registered: [registered], limited: true });
    expect(planDeliveries(lookup, [request()])).toHaveLength(1);
    for (const name of ['other', 'absent'])
      expect(refusal(lookup, request({ name }))).toMatchObject({
        kind: 'InvalidState',
        reason: 'MAILBOX_FRAMES_EXCESSIVE',
      });
  });
});
