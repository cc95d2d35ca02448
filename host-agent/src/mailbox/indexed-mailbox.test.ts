import { describe, expect, it } from 'vitest';
import { parseFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { assembleMailboxes, isWhole } from './indexed-mailbox.js';
import { locatedFrame, type LocatedFrame } from './located-frame.js';
import { framePage, registrationOf, type TestFrame } from './test-memory.js';

function found(...frames: TestFrame[]): LocatedFrame[] {
  return frames.map((frame) => {
    const parse = parseFrameHeader(framePage(frame));
    if (!parse.ok) throw new Error(parse.description);
    return locatedFrame(parse.header, frame.gpa);
  });
}

describe('putting frames together to mailboxes', () => {
  it('makes one mailbox of a single frame', () => {
    const [mailbox, ...others] = assembleMailboxes(found({ gpa: 4096 }), []);
    expect(others).toEqual([]);
    expect(mailbox).toMatchObject({
      name: 'task',
      state: 'armed',
      generation: 0,
      capacityBytes: 3840,
      registered: false,
      segmentAddresses: [4096],
      duplicated: false,
    });
    expect(mailbox!.tokenSha256.startsWith(mailbox!.tokenFingerprint)).toBe(true);
  });

  it('joins segments in their order, wherever they stand', () => {
    const part = { segmentCount: 3, nonce: 9n };
    const [mailbox] = assembleMailboxes(
      found({ gpa: 0, ...part, segmentIndex: 2 }, { gpa: 4096, ...part }, { gpa: 8192, ...part, segmentIndex: 1 }),
      [],
    );
    expect(mailbox).toMatchObject({ capacityBytes: 11520, segmentAddresses: [4096, 8192, 0] });
    expect(isWhole(mailbox!)).toBe(true);
  });

  it('leaves a gap where a segment is missing', () => {
    const [mailbox] = assembleMailboxes(found({ gpa: 0, segmentCount: 2, segmentIndex: 1 }), []);
    expect(mailbox!.segmentAddresses).toEqual([undefined, 0]);
    expect(isWhole(mailbox!)).toBe(false);
  });

  it('is armed only when every segment is', () => {
    const [mailbox] = assembleMailboxes(
      found({ gpa: 0, segmentCount: 2 }, { gpa: 4096, segmentCount: 2, segmentIndex: 1, state: 'consumed' }),
      [],
    );
    expect(mailbox!.state).toBe('consumed');
  });

  it('keeps frames of different nonce, token or segment count apart', () => {
    const frames = found(
      { gpa: 0 },
      { gpa: 4096, nonce: 2n },
      { gpa: 8192, token: 'other' },
      { gpa: 12288, segmentCount: 2 },
    );
    expect(assembleMailboxes(frames, [])).toHaveLength(4);
  });

  it('marks a segment that stands in two places with one nonce', () => {
    const [mailbox] = assembleMailboxes(found({ gpa: 0 }, { gpa: 4096 }), []);
    expect(mailbox!.duplicated).toBe(true);
    expect(isWhole(mailbox!)).toBe(false);
  });

  it('takes the copy at the registered address for the live one', () => {
    const [mailbox] = assembleMailboxes(found({ gpa: 0 }, { gpa: 4096 }), [registrationOf({ gpa: 4096 })]);
    expect(mailbox).toMatchObject({ duplicated: false, registered: true, segmentAddresses: [4096] });
  });

  it('knows whose memory it is in', () => {
    const registration = registrationOf({ gpa: 0 });
    for (const [registrations, armedBy] of [
      [[registration], 'agent'],
      [[{ ...registration, attached: true }], 'program'],
      [[], 'program'],
    ] as const)
      expect(assembleMailboxes(found({ gpa: 0 }), registrations)).toMatchObject([{ armedBy }]);
  });

  it('knows a registered frame again by its nonce when its page has moved', () => {
    const [mailbox] = assembleMailboxes(found({ gpa: 4096 }), [registrationOf({ gpa: 0 })]);
    expect(mailbox).toMatchObject({ registered: true, segmentAddresses: [4096] });
  });

  it('lists no other frame under a name that has a registered one', () => {
    const frames = found({ gpa: 0, nonce: 7n, token: 'stale' }, { gpa: 4096 }, { gpa: 8192, name: 'other' });
    expect(assembleMailboxes(frames, [registrationOf({ gpa: 4096 })]).map(({ name, nonce }) => [name, nonce])).toEqual([
      ['task', '0000000000000001'],
      ['other', '0000000000000001'],
    ]);
  });

  it('gives nothing on a registration whose nonce or token stands nowhere', () => {
    const frames = found({ gpa: 4096 });
    for (const registration of [registrationOf({ gpa: 4096, nonce: 5n }), registrationOf({ gpa: 4096, token: 'x' })])
      expect(assembleMailboxes(frames, [registration])).toMatchObject([{ registered: false }]);
  });
});
