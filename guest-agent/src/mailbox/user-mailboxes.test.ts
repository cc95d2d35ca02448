import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { FRAME_LAYOUT } from '@offshoot/shared/mailbox/frame-layout.js';
import { physicalAddressOf } from '../os/guest-physical.js';
import { mapPages } from '../os/libc.js';
import { FramesOfTest } from './frames-of-test.js';
import { MAX_USER_MAILBOXES, UserMailboxes } from './user-mailboxes.js';

const noPhysicalAddresses = physicalAddressOf(mapPages(4096).address) === undefined;

describe('mailboxes of guest software', () => {
  let frames: FramesOfTest;
  let changes: number;
  let mailboxes: UserMailboxes;
  const soon = () => AbortSignal.timeout(5000);

  beforeEach(() => {
    frames = new FramesOfTest();
    changes = 0;
    mailboxes = new UserMailboxes(() => {
      changes += 1;
    });
  });
  afterEach(() => {
    frames[Symbol.dispose]();
  });

  it('are armed with the token given, or a random one of 128 bits', () => {
    expect(mailboxes.arm('a', 'sésame')).toBe('sésame');
    expect(mailboxes.arm('b')).toMatch(/^[0-9a-f]{32}$/);
    expect(readFrameHeader(frames.page('a'))).toMatchObject({
      name: 'a',
      token: 'sésame',
      state: 'armed',
      generation: 0,
    });
    expect(changes).toBe(2);
  });

  it('keep their token but not their nonce when armed again', () => {
    const token = mailboxes.arm('a');
    const { nonce } = readFrameHeader(frames.page('a'));
    expect(mailboxes.arm('a')).toBe(token);
    expect(readFrameHeader(frames.page('a')).nonce).not.toBe(nonce);
  });

  it('give a delivery out only when it is released, to everyone, and again to who comes later', async () => {
    mailboxes.arm('a');
    const first = mailboxes.wait('a', soon());
    frames.deliver('a', Buffer.from('{"x":1}'));
    expect(mailboxes.look()).toBe(true);
    let early = false;
    void first.then(() => (early = true));
    await expect(mailboxes.wait('a', AbortSignal.timeout(20))).rejects.toMatchObject({ reason: 'MAILBOX_EMPTY' });
    expect(early).toBe(false);
    expect(() => mailboxes.delivered('a')).toThrow('nothing was delivered');
    mailboxes.release();
    expect((await first).payload.toString()).toBe('{"x":1}');
    expect((await mailboxes.wait('a', soon())).generation).toBe(1);
    expect(mailboxes.look()).toBe(false);
    expect(readFrameHeader(frames.page('a')).state).toBe('consumed');
  });

  it('forget a delivery when armed again', async () => {
    mailboxes.arm('a');
    frames.deliver('a', Buffer.from('1'));
    mailboxes.look();
    mailboxes.release();
    mailboxes.arm('a');
    await expect(mailboxes.wait('a', AbortSignal.timeout(20))).rejects.toMatchObject({ kind: 'Timeout' });
  });

  it('never give out a torn delivery', async () => {
    mailboxes.arm('a');
    frames.deliver('a', Buffer.from('payload'));
    frames.page('a').writeUInt8(0, FRAME_LAYOUT.payload.offset + 2);
    mailboxes.look();
    mailboxes.release();
    await expect(mailboxes.wait('a', soon())).rejects.toMatchObject({ kind: 'Corrupt' });
  });

  it('ignore a delivery meant for an earlier arming of the frame', async () => {
    mailboxes.arm('a');
    frames.deliver('a', Buffer.from('payload'));
    frames.page('a').writeBigUInt64LE(7n, FRAME_LAYOUT.nonce.offset);
    mailboxes.look();
    mailboxes.release();
    await expect(mailboxes.wait('a', soon())).rejects.toMatchObject({ kind: 'Corrupt' });
  });

  it('leave nothing in memory when disposed of, and tell who waits', async () => {
    mailboxes.arm('a');
    const page = frames.page('a');
    const waiting = expect(mailboxes.wait('a', soon())).rejects.toMatchObject({ reason: 'MAILBOX_DISPOSED' });
    mailboxes.dispose('a');
    await waiting;
    expect(page.every((byte) => byte === 0)).toBe(true);
    expect(() => {
      mailboxes.dispose('a');
    }).toThrow(expect.objectContaining({ reason: 'MAILBOX_NOT_ARMED' }));
  });

  it('are refused beyond 64, with reserved or malformed names, and with malformed tokens', () => {
    for (let i = 0; i < MAX_USER_MAILBOXES; i++) mailboxes.arm(`m${String(i)}`);
    expect(() => mailboxes.arm('one-more')).toThrow(expect.objectContaining({ kind: 'Capacity' }));
    expect(() => mailboxes.arm('offshoot.network')).toThrow(
      expect.objectContaining({ reason: 'MAILBOX_NAME_RESERVED' }),
    );
    expect(() => mailboxes.arm('a b')).toThrow(expect.objectContaining({ reason: 'MAILBOX_NAME_MALFORMED' }));
    for (const token of ['', 'x'.repeat(129), 'a\0b', '\ud800'])
      expect(() => mailboxes.arm('m0', token)).toThrow(expect.objectContaining({ reason: 'MAILBOX_TOKEN_MALFORMED' }));
    for (let i = 0; i < MAX_USER_MAILBOXES; i++) mailboxes.dispose(`m${String(i)}`);
  });

  it.skipIf(noPhysicalAddresses)(
    `are registered with the physical address of their page${noPhysicalAddresses ? ' (skipped: CAP_SYS_ADMIN)' : ''}`,
    () => {
      mailboxes.arm('a', 'token');
      const [registration] = mailboxes.registrations();
      expect(registration).toMatchObject({
        name: 'a',
        tokenFingerprint: '3c469e9d6c5875d3',
        nonce: readFrameHeader(frames.page('a')).nonce,
        state: 1,
      });
      expect(registration!.segmentAddresses[0]! % 4096n).toBe(0n);
    },
  );
});
