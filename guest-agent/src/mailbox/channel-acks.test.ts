import { beforeEach, describe, expect, it, vi } from 'vitest';
import { formatAck, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { ChannelAcks } from './channel-acks.js';

const ack = (nonce = 1n, stage: Ack['stage'] = 'applied'): Ack => ({
  mailbox: 'task',
  generation: 1,
  nonce,
  stage,
  detail: '',
});
const never = new AbortController().signal;

describe('acknowledgements over the channel', () => {
  let acks: ChannelAcks;
  const lines = (): string[] => [...acks.underWay].map(({ line }) => line.toString());
  beforeEach(() => {
    acks = new ChannelAcks();
  });

  it('are under way until the host has confirmed them by their nonce', async () => {
    const sent = acks.send(ack(), never);
    expect(lines()).toEqual([formatAck(ack())]);
    acks.confirm([2n]);
    expect(lines()).toHaveLength(1);
    acks.confirm([2n, 1n, 1n]);
    await sent;
    expect(lines()).toEqual([]);
  });

  it('are told of to who listens, each once', async () => {
    let told = 0;
    const deaf = acks.onNew(() => (told += 1));
    const sent = [acks.send(ack(1n), never), acks.send(ack(2n), never)];
    acks.confirm([1n]);
    expect(told).toBe(2);
    deaf();
    sent.push(acks.send(ack(3n), never));
    expect(told).toBe(2);
    acks.confirm([2n, 3n]);
    await Promise.all(sent);
  });

  it('give way to a later one of the same delivery', async () => {
    const first = expect(acks.send(ack(1n, 'received'), never)).rejects.toMatchObject({ reason: 'ACK_SUPERSEDED' });
    const second = acks.send(ack(1n, 'applied'), never);
    await first;
    expect(lines()).toEqual([formatAck(ack(1n, 'applied'))]);
    acks.confirm([1n]);
    await second;
  });

  it('end with whoever sends them', async () => {
    const stop = new AbortController();
    const sent = expect(acks.send(ack(), stop.signal)).rejects.toMatchObject({ reason: 'ACK_SUPERSEDED' });
    stop.abort();
    await sent;
    await expect(acks.send(ack(), stop.signal)).rejects.toMatchObject({ reason: 'ACK_SUPERSEDED' });
    expect(lines()).toEqual([]);
  });

  it('end after 30 s without a word of the host', async () => {
    vi.useFakeTimers();
    try {
      const sent = expect(acks.send(ack(), never)).rejects.toMatchObject({
        kind: 'Timeout',
        reason: 'ACK_UNCONFIRMED',
      });
      vi.advanceTimersByTime(29_999);
      expect(lines()).toHaveLength(1);
      vi.advanceTimersByTime(1);
      await sent;
      expect(lines()).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });
});
