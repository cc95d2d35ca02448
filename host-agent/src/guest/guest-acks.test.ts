import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LinkLab } from './testing/link-lab.js';
import { CREDENTIAL, soon } from './testing/scripted-guest.js';

describe('acks over the link to a guest', () => {
  let lab: LinkLab;
  beforeEach(async () => {
    lab = await LinkLab.start();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  it('hands on what the guest says to be acks, and confirms those that count', async () => {
    const standing = once(lab.guest.server, 'acks');
    await lab.open();
    await standing;
    const confirmed = once(lab.guest.server, 'confirmed');
    for (const call of lab.guest.acks)
      for (const line of ['nonsense', 'ack 7']) call.write({ line: Buffer.from(line) });
    await confirmed;
    expect([lab.acks, lab.guest.confirmed]).toEqual([['nonsense', 'ack 7'], [[7n]]]);
  });

  it('confirms a flood of acks in one call at a time, each nonce once', async () => {
    const standing = once(lab.guest.server, 'acks');
    await lab.open();
    await standing;
    const first = once(lab.guest.server, 'confirmed');
    const [call] = lab.guest.acks;
    call!.write({ line: Buffer.from('ack 1') });
    const [answer] = (await first) as [() => void];
    const lines = Array.from({ length: 10_000 }, (_, i) => (i % 2 === 0 ? `ack ${String(i % 20)}` : 'noise'));
    for (const line of lines) call!.write({ line: Buffer.from(line) });
    await lab.until(() => lab.acks.length === 10_001);
    expect(lab.guest.confirmed).toEqual([[1n]]);
    const second = once(lab.guest.server, 'confirmed');
    answer();
    await second;
    expect(lab.guest.confirmed[1]).toEqual([0n, 2n, 4n, 6n, 8n, 10n, 12n, 14n, 16n, 18n]);
  });

  it('asks for acks anew in the next session', async () => {
    let standing = once(lab.guest.server, 'acks');
    const opened = await lab.open();
    await standing;
    standing = once(lab.guest.server, 'acks');
    opened.wake();
    await standing;
    [...lab.guest.acks].at(-1)!.write({ line: Buffer.from('ack 7') });
    await once(lab.guest.server, 'confirmed');
    expect(lab.acks).toEqual(['ack 7']);
  });

  it('gives a session up in which the acks are too large to be any', async () => {
    const standing = once(lab.guest.server, 'acks');
    const opened = await lab.open();
    await standing;
    await opened.hello(soon());
    const next = once(lab.guest.server, 'acks');
    for (const call of lab.guest.acks) call.write({ line: Buffer.alloc(256 * 1024) });
    await next;
    expect(lab.acks).toEqual([]);
  });

  it('goes on with an agent that sends its acks by UDP alone', async () => {
    lab.guest.sendsAcksByUdpAlone = true;
    const refused = once(lab.guest.server, 'acks');
    const opened = await lab.open();
    await refused;
    await lab.until(() => lab.guest.outputs.size === 1);
    for (const call of lab.guest.outputs) call.write({ offset: 0n, data: Buffer.from('hello') });
    await lab.until(() => lab.output.length === 1);
    await opened.thaw(CREDENTIAL, soon());
    expect([lab.guest.syncs.length, lab.guest.outputs.size]).toEqual([1, 1]);
    const next = once(lab.guest.server, 'sync');
    for (const call of lab.guest.registrations) call.end();
    await next;
  });
});
