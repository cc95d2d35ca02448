import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { FRAME_LAYOUT } from '@offshoot/shared/mailbox/frame-layout.js';
import type { Delivery } from '@offshoot/shared/mailbox/segments.js';
import { FramePage } from '../os/frame-page.js';
import { mapPages } from '../os/libc.js';
import { PageMap } from '../os/page-map.js';
import { FramesOfTest } from './frames-of-test.js';
import { MAX_USER_MAILBOXES, MailboxRoom } from './mailbox-room.js';
import { UserMailboxes } from './user-mailboxes.js';

const noPhysicalAddresses = PageMap.own.physicalAddress(mapPages(4096).address) === undefined;

describe('mailboxes of guest software', () => {
  let frames: FramesOfTest;
  let changes: number;
  let mailboxes: UserMailboxes;
  const soon = () => AbortSignal.timeout(5000);

  beforeEach(() => {
    frames = new FramesOfTest();
    changes = 0;
    mailboxes = new UserMailboxes(new MailboxRoom(), () => {
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

  it('are looked at in vain while nothing is delivered, and tell of a change when something is given out', async () => {
    const empty = expect.objectContaining({ reason: 'MAILBOX_EMPTY' }) as Error;
    mailboxes.arm('a');
    expect(mailboxes.look()).toBe(false);
    mailboxes.release();
    expect(changes).toBe(1);
    expect(() => mailboxes.delivered('a')).toThrow(empty);
    frames.deliver('a', Buffer.from('1'));
    expect(mailboxes.look()).toBe(true);
    mailboxes.release();
    mailboxes.release();
    expect(changes).toBe(2);
    expect((await mailboxes.wait('a', soon())).payload.toString()).toBe('1');
    mailboxes.arm('a');
    frames.deliver('a', Buffer.from('1'));
    frames.page('a').writeUInt8(0, FRAME_LAYOUT.payload.offset);
    mailboxes.look();
    mailboxes.release();
    expect(() => mailboxes.delivered('a')).toThrow(empty); // torn: there is nothing to acknowledge
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

  it('have as many frames as their capacity needs, on pages of their own', () => {
    mailboxes.arm('large', undefined, 3841);
    const pages = frames.pagesOf('large');
    expect(pages.map((page) => readFrameHeader(page))).toMatchObject([
      { segmentIndex: 0, segmentCount: 2 },
      { segmentIndex: 1, segmentCount: 2 },
    ]);
    expect(pages[0]!.buffer).not.toBe(pages[1]!.buffer);
    mailboxes.arm('large');
    expect(frames.pagesOf('large')).toHaveLength(2);
    mailboxes.arm('large', undefined, 245_760);
    expect(frames.pagesOf('large')).toHaveLength(64);
    const all = frames.pagesOf('large');
    mailboxes.arm('large', undefined, 1);
    expect(frames.pagesOf('large')).toHaveLength(1);
    for (const page of all.slice(1)) expect(page.every((byte) => byte === 0)).toBe(true);
    mailboxes.dispose('large');
    for (const capacity of [0, -1, 1.5, 245_761])
      expect(() => mailboxes.arm('large', undefined, capacity)).toThrow(
        expect.objectContaining({ reason: 'INVALID_FIELD' }),
      );
    expect(frames.names()).toEqual([]);
  });

  it.each([1, 3840, 3841, 200 * 1024, 245_760])('take a delivery of %i bytes out whole', async (length) => {
    mailboxes.arm('large', undefined, 245_760);
    const payload = randomBytes(length);
    frames.deliver('large', payload);
    mailboxes.look();
    mailboxes.release();
    expect((await mailboxes.wait('large', soon())).payload.equals(payload)).toBe(true);
    mailboxes.dispose('large');
  });

  it.each<[string, (pages: Buffer[]) => void]>([
    ['has not come to', (pages) => pages[1]!.writeUInt32LE(0, FRAME_LAYOUT.generation.offset)],
    ['fills for another delivery', (pages) => pages[1]!.writeUInt32LE(2, FRAME_LAYOUT.generation.offset)],
    ['alone has come to', (pages) => pages[0]!.writeUInt32LE(0, FRAME_LAYOUT.generation.offset)],
  ])('never give out a delivery with a frame that the host %s', async (_, damage) => {
    mailboxes.arm('a', undefined, 5000);
    frames.deliver('a', Buffer.alloc(5000, 1));
    damage(frames.pagesOf('a'));
    mailboxes.look();
    mailboxes.release();
    await expect(mailboxes.wait('a', soon())).rejects.toMatchObject({ kind: 'Corrupt' });
    mailboxes.dispose('a');
  });

  it('take one delivery after the other, each time they are armed again', async () => {
    mailboxes.arm('a', 'token', 5000);
    const nonces = new Set<bigint>();
    for (const fork of [1, 2, 3, 4]) {
      const payload = Buffer.from(String(fork).repeat(1000 * fork));
      nonces.add(readFrameHeader(frames.page('a')).nonce);
      frames.deliver('a', payload);
      expect(mailboxes.look()).toBe(true);
      mailboxes.release();
      const delivery = await mailboxes.wait('a', soon());
      expect(delivery.payload.equals(payload)).toBe(true);
      frames.pagesOf('a').forEach((page) => page.writeUInt32LE(2, FRAME_LAYOUT.state.offset));
      expect(mailboxes.look()).toBe(false); // not once more, whatever its state says
      mailboxes.arm('a');
      await expect(mailboxes.wait('a', AbortSignal.timeout(0))).rejects.toMatchObject({ reason: 'MAILBOX_EMPTY' });
    }
    expect(nonces.size).toBe(4);
  });

  it('leave a payload in memory only for as long as it can be asked for', async () => {
    mailboxes.arm('a', undefined, 5000);
    frames.deliver('a', Buffer.alloc(5000, 1));
    mailboxes.look();
    mailboxes.release();
    for (const page of frames.pagesOf('a'))
      expect(page.subarray(FRAME_LAYOUT.payload.offset).every((byte) => byte === 0)).toBe(true);
    const kept = (mailboxes.delivered('a') as Delivery).payload;
    const given = await mailboxes.wait('a', soon());
    expect(kept.equals(Buffer.alloc(5000, 1))).toBe(true);
    mailboxes.arm('a');
    expect(kept.equals(Buffer.alloc(5000))).toBe(true);
    expect(given.payload.equals(Buffer.alloc(5000, 1))).toBe(true); // the caller's own
    frames.deliver('a', Buffer.alloc(5000, 2));
    mailboxes.look();
    mailboxes.release();
    const last = (mailboxes.delivered('a') as Delivery).payload;
    mailboxes.dispose('a');
    expect(last.equals(Buffer.alloc(5000))).toBe(true);
  });

  it('have at most 1024 frames together', () => {
    for (let i = 0; i < 16; i++) mailboxes.arm(`m${String(i)}`, undefined, 245_760);
    expect(() => mailboxes.arm('one-more')).toThrow(expect.objectContaining({ reason: 'MAILBOX_LIMIT' }));
    mailboxes.arm('m0'); // again as it is
    mailboxes.arm('m0', undefined, 63 * 3840);
    mailboxes.arm('one-more');
    expect(() => mailboxes.arm('m0', undefined, 245_760)).toThrow(expect.objectContaining({ reason: 'MAILBOX_LIMIT' }));
    expect(frames.pagesOf('m0')).toHaveLength(63);
    mailboxes.dispose('one-more');
    mailboxes.arm('m0', undefined, 245_760);
    for (let i = 0; i < 16; i++) mailboxes.dispose(`m${String(i)}`);
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
    const token = mailboxes.arm('m0'); // again: there is room for those that are there
    for (const malformed of ['', 'x'.repeat(129), 'a\0b', '\ud800'])
      expect(() => mailboxes.arm('m0', malformed)).toThrow(
        expect.objectContaining({ reason: 'MAILBOX_TOKEN_MALFORMED' }),
      );
    expect(mailboxes.arm('m0')).toBe(token);
    for (let i = 0; i < MAX_USER_MAILBOXES; i++) mailboxes.dispose(`m${String(i)}`);
  });

  it('are registered while the kernel says where all of their pages are', () => {
    const physicalAddress = vi.spyOn(FramePage.prototype, 'physicalAddress').mockReturnValue(8192n);
    try {
      mailboxes.arm('a', 'token', 5000);
      expect(mailboxes.registrations()).toMatchObject([{ name: 'a', segmentAddresses: [8192n, 8192n], state: 1 }]);
      physicalAddress.mockReturnValueOnce(undefined);
      expect(mailboxes.registrations()).toEqual([]);
    } finally {
      physicalAddress.mockRestore();
    }
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
