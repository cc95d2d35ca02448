import { getEventListeners } from 'node:events';
import { formatAck, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { pino } from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import { mintInstanceId } from '../domain/ids.js';
import type { AckExpectation } from '../ports/ack-listener.js';
import { ExpectedAcks, type AckSource } from './expected-acks.js';
import { RejectCounter } from './reject-counter.js';

const instance = mintInstanceId();
const here = { by: 'udp', address: '10.0.2.30' } as const;
const expectation: AckExpectation = {
  mailbox: 'task',
  generation: 1,
  nonce: 0xabcn,
  instance,
  fromAddress: here.address,
};
const applied: Ack = { mailbox: 'task', generation: 1, nonce: 0xabcn, stage: 'applied', detail: '' };
/** For waits that have to be over already. */
const over = AbortSignal.abort();

describe('an ack that is waited for', () => {
  let rejects: RejectCounter;
  let acks: ExpectedAcks;
  beforeEach(() => {
    rejects = new RejectCounter(pino({ enabled: false }), 'what is no expected ack');
    acks = new ExpectedAcks(rejects);
  });
  const say = (change: Partial<Ack> = {}, source: AckSource = here): bigint | undefined =>
    acks.take(Buffer.from(formatAck({ ...applied, ...change })), source);

  it('is the right one from where its fork is', async () => {
    using pending = acks.expect(expectation);
    expect(say({ detail: 'done' })).toBe(0xabcn);
    expect(await pending.wait(over)).toEqual({ ...applied, detail: 'done' });
    expect(rejects.counts.size).toBe(0);
  });

  it.each<[string, string, Partial<Ack>, AckSource]>([
    ['a nonce that nobody waits for', 'unknown-nonce', { nonce: 0xabdn }, here],
    ['another mailbox', 'wrong-mailbox', { mailbox: 'tasks' }, here],
    ['another generation', 'wrong-generation', { generation: 2 }, here],
    ['another address', 'wrong-source', {}, { by: 'udp', address: '10.0.2.31' }],
    ['the channel of another fork', 'wrong-source', {}, { by: 'channel', instance: mintInstanceId() }],
    // Not what else is wrong with it: a neighbour learns nothing from how far it got.
    ['another address and mailbox', 'wrong-source', { mailbox: 'x' }, { by: 'udp', address: '10.0.2.31' }],
  ])('is none of %s, counted as %s', async (_what, reason, change, source) => {
    using pending = acks.expect(expectation);
    expect(say(change, source)).toBeUndefined();
    expect(rejects.counts).toEqual(new Map([[reason, 1]]));
    await expect(pending.wait(over)).rejects.toMatchObject({ kind: 'Timeout' });
  });

  it('is no line that is not one', () => {
    using _pending = acks.expect(expectation);
    expect(acks.take(Buffer.from(` ${formatAck(applied)}`), here)).toBeUndefined();
    expect(rejects.counts).toEqual(new Map([['malformed', 1]]));
  });

  it('comes from any address where the network hides the guests, but from no other fork’s channel', () => {
    using _pending = acks.expect({ mailbox: 'task', generation: 1, nonce: 0xabcn, instance });
    expect(say({}, { by: 'udp', address: '127.0.0.1' })).toBe(0xabcn);
    expect(say({}, { by: 'channel', instance })).toBe(0xabcn);
    expect(say({}, { by: 'channel', instance: mintInstanceId() })).toBeUndefined();
  });

  it('is confirmed and waited past when it only says "received", and its first final word stands', async () => {
    using pending = acks.expect(expectation);
    const waiting = pending.wait(new AbortController().signal);
    expect(say({ stage: 'received' })).toBe(0xabcn);
    await expect(pending.wait(over)).rejects.toMatchObject({ kind: 'Timeout' });
    expect([say({ stage: 'failed', detail: 'no route' }), say()]).toEqual([0xabcn, 0xabcn]);
    expect(await waiting).toMatchObject({ stage: 'failed', detail: 'no route' });
    expect(await pending.wait(over)).toMatchObject({ stage: 'failed' });
  });

  it('leaves nothing on the signal of who waited', async () => {
    using pending = acks.expect(expectation);
    const { signal } = new AbortController();
    const waiting = pending.wait(signal);
    say();
    await waiting;
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('is confirmed again after it came, and only as what it was', () => {
    acks.expect(expectation)[Symbol.dispose]();
    expect(say()).toBe(0xabcn);
    expect(say({ mailbox: 'tasks' })).toBeUndefined();
    expect(say({}, { by: 'udp', address: '10.0.2.31' })).toBeUndefined();
  });

  it('is forgotten after 4096 others have come', () => {
    for (let nonce = 1n; nonce <= 4097n; nonce++) acks.expect({ ...expectation, nonce })[Symbol.dispose]();
    expect([say({ nonce: 1n }), say({ nonce: 2n })]).toEqual([undefined, 2n]);
  });

  it('cannot be waited for twice at a time, and ends only its own wait', async () => {
    const pending = acks.expect(expectation);
    expect(() => acks.expect(expectation)).toThrow(expect.objectContaining({ reason: 'ACK_NONCE_TAKEN' }));
    pending[Symbol.dispose]();
    using next = acks.expect(expectation);
    pending[Symbol.dispose]();
    say();
    expect(await next.wait(over)).toEqual(applied);
  });

  it('is not waited for any more once the listener closes', async () => {
    using pending = acks.expect(expectation);
    const waiting = expect(pending.wait(new AbortController().signal)).rejects.toMatchObject({
      reason: 'ACK_LISTENER_CLOSED',
    });
    acks.close();
    await waiting;
    await expect(pending.wait(over)).rejects.toMatchObject({ reason: 'ACK_LISTENER_CLOSED' });
    expect(() => acks.expect(expectation)).toThrow(expect.objectContaining({ reason: 'ACK_LISTENER_CLOSED' }));
  });
});
