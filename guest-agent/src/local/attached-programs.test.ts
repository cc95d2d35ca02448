import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RegisterMailboxResponse } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentOfTest, identityPayload, type Local } from '../agent-of-test.js';
import { ProgramOfTest } from '../mailbox/program-of-test.js';

const RESERVED = [
  'offshoot.network',
  'offshoot.clock',
  'offshoot.entropy',
  'offshoot.credential',
  'offshoot.rehearsal',
];

describe('the agent of a program that attaches its own mailboxes', () => {
  let agent: AgentOfTest;
  beforeEach(async () => {
    agent = await AgentOfTest.start();
  });
  afterEach(async () => {
    await agent[Symbol.asyncDispose]();
  });

  let program: ProgramOfTest;
  let software: Local;
  const marker = { name: 'own', token: 'tk', nonce: 7n };
  const place = () => ({ pid: program.pid, addresses: program.addresses(1, 0).map((page) => page.toString(16)) });

  beforeEach(async () => {
    program = await ProgramOfTest.start(2);
    software = await agent.local();
    program.arm(marker, 1, 0);
  });
  afterEach(async () => {
    software.socket.destroy();
    await program[Symbol.asyncDispose]();
  });

  it('tells of a delivery when the identity of the fork is in force', async () => {
    expect(await software.ask({ op: 'attach', name: 'own', ...place() })).toEqual({ id: 0, ok: true });
    program.deliver(Buffer.alloc(5000), 1, 0);
    expect(await software.ask({ op: 'watch', name: 'own', timeoutMs: 30 })).toMatchObject({
      error: { reason: 'MAILBOX_EMPTY' },
    });
    const watched = software.ask({ op: 'watch', name: 'own' });
    agent.frames.deliver('offshoot.network', identityPayload);
    agent.source.host.write('w');
    expect(await watched).toMatchObject({ ok: true, generation: 1 });
    expect(agent.parts.calls).toContain('network 10.0.2.30');
    expect(await software.ask({ op: 'detach', name: 'own' })).toMatchObject({ ok: true });
    expect(await software.ask({ op: 'watch', name: 'own' })).toMatchObject({
      error: { kind: 'NotFound', reason: 'MAILBOX_NOT_ATTACHED' },
    });
  });

  it('tells of one that stood there before, but never before an identity that is under way is in force', async () => {
    await mkdir(join(agent.directory, 'after-fork.d'));
    const [hook, goOn] = [join(agent.directory, 'after-fork.d/hook'), join(agent.directory, 'go-on')];
    await writeFile(hook, `#!/bin/sh\nwhile [ ! -e ${goOn} ]; do sleep 0.01; done\n`, { mode: 0o755 });
    program.deliver(Buffer.from('x'), 1, 0);
    agent.frames.deliver('offshoot.network', identityPayload);
    await software.ask({ op: 'attach', name: 'own', ...place() });
    expect(await software.ask({ op: 'watch', name: 'own', timeoutMs: 30 })).toMatchObject({
      error: { reason: 'MAILBOX_EMPTY' },
    });
    await writeFile(goOn, '');
    expect(await software.ask({ op: 'watch', name: 'own' })).toMatchObject({ ok: true, generation: 1 });
  });

  it('tells the host of them for as long as the connection is open', async () => {
    const client = await agent.host.session();
    const call = client.registerMailbox({});
    call.on('error', () => undefined);
    const namesOf = ([message]: unknown[]): string[] =>
      (message as RegisterMailboxResponse).mailboxes.map(({ name }) => name);
    expect(namesOf(await once(call, 'data'))).not.toContain('own');
    let change = once(call, 'data');
    await software.ask({ op: 'attach', name: 'own', ...place() });
    const tellsAddresses = namesOf(await change).length > 0; // not without CAP_SYS_ADMIN
    change = once(call, 'data');
    software.socket.destroy();
    expect(namesOf(await change)).toEqual(tellsAddresses ? RESERVED : []);
    call.cancel();
  });

  it('refuses places that cannot be any', async () => {
    const at = place();
    const [page = ''] = at.addresses;
    for (const change of [
      { pid: 0 },
      { pid: 1.5 },
      { pid: '1' },
      { pid: 4_194_305 },
      { addresses: [] },
      { addresses: page },
      { addresses: [Number(`0x${page}`)] },
      { addresses: [`0x${page}`] },
      { addresses: [page.toUpperCase()] },
      { addresses: [page, page] },
      { addresses: ['0'] },
      { addresses: ['1001'] },
      { addresses: ['1'.repeat(17)] },
      { addresses: Array.from({ length: 65 }, (_, i) => ((i + 1) * 4096).toString(16)) },
    ])
      expect(await software.ask({ op: 'attach', name: 'own', ...at, ...change })).toMatchObject({
        error: { reason: 'INVALID_FIELD' },
      });
    expect(await software.ask({ op: 'attach', name: 'own', ...at, token: 'tk' })).toMatchObject({
      error: { message: 'token: is not known to attach' },
    });
    expect(await software.ask({ op: 'attach', name: 'own', ...at, addresses: ['1000'] })).toMatchObject({
      error: { reason: 'MAILBOX_FRAME_CORRUPT' },
    });
    await software.ask({ op: 'arm', name: 'own' });
    expect(await software.ask({ op: 'attach', name: 'own', ...at })).toMatchObject({
      error: { kind: 'AlreadyExists', reason: 'MAILBOX_NAME_TAKEN' },
    });
  });
});
