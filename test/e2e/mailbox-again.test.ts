import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';

const bytes = (name: string, data: Buffer) => ({
  name,
  payload: { $case: 'data' as const, data },
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
    await park('root', 1);
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  /** Once all three are armed for this delivery; of one of them only its program knows. */
  const park = async (name: string, round: number): Promise<void> => {
    await host.logLine(name, (line) => line === `bare is armed ${String(round)}`);
    await host.standby(name, 'task', 'own');
  };
  const fork = async (source: string, name: string, task: Buffer, own: Buffer, bare: Buffer): Promise<unknown[]> => {
    const { acks } = await host.fork({
      source,
      name,
      mailboxes: [bytes('task', task), bytes('own', own), bytes('bare', bare)],
    });
    return acks.map(({ detail }) => JSON.parse(detail) as unknown);
  };

  it('are listed once each, whatever copies of them their program left in its memory', async () => {
    const { mailboxes } = await host.get('root', true);
    const all = mailboxes
      .map(({ name, capacityBytes, registered }) => [name, capacityBytes, registered])
      .sort(([a], [b]) => String(a).localeCompare(String(b)));
    expect(all).toEqual([
      ['bare', 3840, false],
      ['offshoot.clock', 3840, true],
      ['offshoot.credential', 3840, true],
      ['offshoot.entropy', 3840, true],
      ['offshoot.network', 3840, true],
      ['offshoot.rehearsal', 3840, true],
      ['own', 3840, true],
      ['task', 245_760, true],
    ]);
  });

  it('take the payloads of a fork, of its fork and of the fork of that, from none to the last byte of 240 KiB', async () => {
    let source = 'root';
    for (const [index, size] of [245_760, 3841, 0, 200 * 1024].entries()) {
      const payloads = [randomBytes(size), randomBytes(1 + index * 1279), randomBytes(index)] as const;
      const name = `generation-${String(index + 1)}`;
      expect(await fork(source, name, ...payloads)).toEqual(payloads.map((each) => expected(index + 1, each)));
      await park(name, index + 2);
      source = name;
    }
  });

  it('still take the first in another fork of the first', async () => {
    const payloads = [randomBytes(7680), randomBytes(3840), randomBytes(1)] as const;
    expect(await fork('root', 'other', ...payloads)).toEqual(payloads.map((each) => expected(1, each)));
  });

  it('refuse a payload larger than they are, and nothing is left of the fork', async () => {
    const before = await host.traces();
    const nothing = Buffer.alloc(0);
    await expect(fork('root', 'never', nothing, Buffer.alloc(3841), nothing)).rejects.toThrow(/3840 bytes/);
    await expect(fork('root', 'never', Buffer.alloc(245_761), nothing, nothing)).rejects.toThrow(/245760 bytes/);
    expect(await host.traces()).toEqual(before);
  });
});
