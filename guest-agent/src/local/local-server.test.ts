import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { RegisterMailboxResponse } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentOfTest, identity, identityPayload, reconfigure } from '../agent-of-test.js';
import { mapPages } from '../os/libc.js';
import { PageMap } from '../os/page-map.js';

const noPhysicalAddresses = PageMap.own.physicalAddress(mapPages(4096).address) === undefined;

describe('the local socket', () => {
  let agent: AgentOfTest;
  beforeEach(async () => {
    agent = await AgentOfTest.start();
  });
  afterEach(async () => {
    await agent[Symbol.asyncDispose]();
  });

  it('hands a delivery to guest software after the identity of the fork, and sends its answer', async () => {
    const software = await agent.local();
    expect(await software.ask({ op: 'arm', name: 'task', token: 'tk' })).toEqual({ id: 0, ok: true, token: 'tk' });
    const waiting = software.ask({ op: 'wait', name: 'task', timeoutMs: 10_000 });
    agent.frames.deliver('task', Buffer.from('{"n":7}'), agent.route());
    agent.frames.deliver('offshoot.network', identityPayload, agent.route());
    agent.source.host.write('w');
    expect(await waiting).toEqual({ id: 1, ok: true, generation: 1, contentType: 'json', text: '{"n":7}' });
    expect(agent.parts.calls).toContain('network 10.0.2.30');
    expect(await software.ask({ op: 'ack', name: 'task', detail: 'done it' })).toEqual({
      id: 2,
      ok: true,
      confirmed: true,
    });
    expect(agent.acks.find(({ mailbox }) => mailbox === 'task')).toMatchObject({ stage: 'applied', detail: 'done it' });
    software.socket.destroy();
  });

  it('holds a delivery back until the host gave the identity by call', async () => {
    const software = await agent.local();
    await software.ask({ op: 'arm', name: 'task' });
    agent.frames.deliver('task', Buffer.from([0, 255]), { transport: 'none' }, 'bytes');
    expect(await software.ask({ op: 'wait', name: 'task', timeoutMs: 30 })).toMatchObject({
      ok: false,
      error: { reason: 'MAILBOX_EMPTY' },
    });
    const waiting = software.ask({ op: 'wait', name: 'task' });
    await reconfigure(await agent.host.session(), identity);
    expect(await waiting).toMatchObject({ contentType: 'bytes', base64: 'AP8=' });
    expect(await software.ask({ op: 'ack', name: 'task' })).toMatchObject({ ok: true, confirmed: false });
    software.socket.destroy();
  });

  it('keeps a mailbox whose client is gone', async () => {
    const first = await agent.local();
    await first.ask({ op: 'arm', name: 'task' });
    first.socket.destroy();
    agent.frames.deliver('offshoot.network', identityPayload);
    agent.frames.deliver('task', Buffer.from('1'));
    const second = await agent.local();
    expect(await second.ask({ op: 'wait', name: 'task' })).toMatchObject({ ok: true, text: '1' });
    expect(await second.ask({ op: 'dispose', name: 'task' })).toMatchObject({ ok: true });
    expect(agent.frames.names()).not.toContain('task');
    second.socket.destroy();
  });

  const skipped = noPhysicalAddresses ? ' (skipped: CAP_SYS_ADMIN)' : '';
  it.skipIf(noPhysicalAddresses)(`tells a host that was busy of the last change, not of each${skipped}`, async () => {
    const client = await agent.host.session();
    const call = client.registerMailbox({});
    call.on('error', () => undefined);
    await once(call, 'data');
    call.pause();
    const software = await agent.local();
    const name = (i: number): string => `${'m'.repeat(60)}${String(i)}`;
    for (let i = 0; i < 40; i++) await software.ask({ op: 'arm', name: name(i) });
    for (let i = 0; i < 1000; i++) await software.ask({ op: 'arm', name: name(0) });
    await software.ask({ op: 'arm', name: 'last' });
    let told = 0;
    call.resume();
    for await (const message of call) {
      told += 1;
      if ((message as RegisterMailboxResponse).mailboxes.some((mailbox) => mailbox.name === 'last')) break;
    }
    expect(told).toBeLessThan(500);
    software.socket.destroy();
  });

  it('tells the host of every change of its mailboxes', async () => {
    const client = await agent.host.session();
    const call = client.registerMailbox({});
    call.on('error', () => undefined);
    await once(call, 'data');
    const changed = once(call, 'data');
    const software = await agent.local();
    await software.ask({ op: 'arm', name: 'task' });
    await changed;
    call.cancel();
    software.socket.destroy();
  });

  it('hands out payloads of 240 KiB', async () => {
    const software = await agent.local();
    await software.ask({ op: 'arm', name: 'task', capacityBytes: 245_760 });
    const payload = randomBytes(245_760);
    agent.frames.deliver('task', payload, { transport: 'none' }, 'bytes');
    agent.frames.deliver('offshoot.network', identityPayload);
    const answer = await software.ask({ op: 'wait', name: 'task' });
    expect(Buffer.from(answer.base64 as string, 'base64').equals(payload)).toBe(true);
    software.socket.destroy();
  });

  it('takes no more requests from a client that does not read what it is answered', async () => {
    const software = await agent.local();
    await software.ask({ op: 'arm', name: 'task', capacityBytes: 245_760 });
    agent.frames.deliver('task', randomBytes(245_760), { transport: 'none' }, 'bytes');
    agent.frames.deliver('offshoot.network', identityPayload);
    const deaf = connect(join(agent.directory, 'guest.sock'));
    await once(deaf, 'connect');
    const request = Buffer.from(`${JSON.stringify({ op: 'wait', name: 'task' })}\n`.repeat(1000));
    // Far more than the kernel holds for the agent to read.
    let taken = 0;
    const ask = (): void => {
      deaf.write(request, () => {
        taken += 1;
        if (taken < 1000) ask();
      });
    };
    ask();
    for (let i = 0; i < 20; i++) expect(await software.ask({ op: 'identity' })).toMatchObject({ ok: true });
    expect(taken).toBeLessThan(100);
    deaf.destroy();
    software.socket.destroy();
  });

  it('refuses local requests that are malformed, in words', async () => {
    const software = await agent.local();
    const refused = async (request: object): Promise<unknown> => (await software.ask(request)).error;
    expect(await refused({ op: 'sing' })).toMatchObject({
      reason: 'INVALID_FIELD',
      message: expect.stringContaining('op') as string,
    });
    expect(await refused({ op: 'arm' })).toMatchObject({ message: 'name: must be a string' });
    expect(await refused({ op: 'arm', name: 'a', tokn: 'x' })).toMatchObject({ message: 'tokn: is not known to arm' });
    expect(await refused({ op: 'arm', name: 'offshoot.x' })).toMatchObject({ reason: 'MAILBOX_NAME_RESERVED' });
    expect(await refused({ op: 'arm', name: 'a', capacityBytes: '1' })).toMatchObject({ kind: 'InvalidInput' });
    expect(await refused({ op: 'arm', name: 'a', capacityBytes: 0 })).toMatchObject({ reason: 'INVALID_FIELD' });
    expect(await refused({ op: 'wait', name: 'nobody' })).toMatchObject({ reason: 'MAILBOX_NOT_ARMED' });
    expect(await refused({ op: 'wait', name: 'nobody', timeoutMs: -1 })).toMatchObject({ kind: 'InvalidInput' });
    software.socket.write(`${'x'.repeat(9000)}\n`);
    await once(software.socket, 'close');
  });

  it('refuses more than 16 unanswered requests of one client', async () => {
    const software = await agent.local();
    await software.ask({ op: 'arm', name: 'task' });
    const answers = Array.from({ length: 17 }, () => software.ask({ op: 'wait', name: 'task', timeoutMs: 5000 }));
    expect(await Promise.race(answers)).toMatchObject({ error: { reason: 'TOO_MANY_REQUESTS' } });
    software.socket.destroy();
  });
});
