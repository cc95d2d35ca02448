import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';

const limit = { seconds: 30n, nanos: 0 };
const bytes = (name: string, data: Buffer) => ({
  name,
  payload: { $case: 'data' as const, data },
  ackTimeout: limit,
});

/** What test/guest/again.cjs acknowledges with: which delivery since the boot of its ancestors, and what it was. */
const expected = (round: number, payload: Buffer) => ({
  round,
  bytes: payload.length,
  sha256: createHash('sha256').update(payload).digest('hex'),
});

describe('mailboxes that are armed again after each delivery', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('root', 'again.cjs');
    await host.standby('root', 'task', 'own');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  const fork = async (source: string, name: string, task: Buffer, own: Buffer): Promise<unknown[]> => {
    const { acks } = await host.fork({
      source,
      name,
      mailboxes: [bytes('task', task), bytes('own', own)],
      networkTimeout: limit,
    });
    return acks.map(({ detail }) => JSON.parse(detail) as unknown);
  };

  it('are told from the copies of them that their program left in its memory', async () => {
    const { mailboxes } = await host.get('root', true);
    const own = mailboxes.filter(({ name }) => name === 'own');
    expect(own).toHaveLength(1);
    expect(own[0]).toMatchObject({ capacityBytes: 3840, registered: true });
    expect(mailboxes.find(({ name }) => name === 'task')).toMatchObject({ capacityBytes: 245_760, registered: true });
  });

  it('take the payloads of a fork, of its fork and of the fork of that, from none to the last byte of 240 KiB', async () => {
    let source = 'root';
    for (const [index, size] of [245_760, 3841, 0, 200 * 1024].entries()) {
      const [task, own] = [randomBytes(size), randomBytes(1 + index * 1279)];
      const name = `generation-${String(index + 1)}`;
      expect(await fork(source, name, task, own)).toEqual([expected(index + 1, task), expected(index + 1, own)]);
      await host.standby(name, 'task', 'own');
      source = name;
    }
  });

  it('still take the first in another fork of the first', async () => {
    const [task, own] = [randomBytes(7680), randomBytes(3840)];
    expect(await fork('root', 'other', task, own)).toEqual([expected(1, task), expected(1, own)]);
  });

  it('refuse a payload larger than they are, and nothing is left of the fork', async () => {
    const before = await host.traces();
    await expect(fork('root', 'never', Buffer.alloc(0), Buffer.alloc(3841))).rejects.toThrow(/3840 bytes/);
    await expect(fork('root', 'never', Buffer.alloc(245_761), Buffer.alloc(1))).rejects.toThrow(/245760 bytes/);
    expect(await host.traces()).toEqual(before);
  });
});
