import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { promisify } from 'node:util';
import type {
  ConfirmAcksRequest,
  ConfirmAcksResponse,
  GuestServiceClient,
  StreamAcksResponse,
} from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { formatAck, parseAck } from '@offshoot/shared/mailbox/ack-line.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentOfTest, identity, identityPayload, reconfigure } from '../agent-of-test.js';

describe('an agent that acknowledges over its channel', () => {
  let agent: AgentOfTest;
  beforeEach(async () => {
    agent = await AgentOfTest.start();
  });
  afterEach(async () => {
    await agent[Symbol.asyncDispose]();
  });

  const line = (nonce: bigint) =>
    formatAck({ mailbox: 'own', generation: 1, nonce, stage: 'applied', detail: 'so far' });
  /** The standing call of a session: what it has heard so far, and the next line. */
  const standing = (client: GuestServiceClient) => {
    const call = client.streamAcks({});
    call.on('error', () => undefined);
    const heard: string[] = [];
    call.on('data', ({ line }: StreamAcksResponse) => heard.push(line.toString()));
    return { heard, next: () => once(call, 'data') };
  };
  const confirm = (client: GuestServiceClient, nonces: bigint[]) =>
    promisify<ConfirmAcksRequest, ConfirmAcksResponse>(client.confirmAcks.bind(client) as never)({ nonces });

  it('answers so for a delivery that asks for it, until the host confirms', async () => {
    const client = await agent.host.session();
    const acks = standing(client);
    const software = await agent.local();
    await software.ask({ op: 'arm', name: 'task' });
    const nonce = agent.frames.deliver('task', Buffer.from('1'), { transport: 'channel' });
    await reconfigure(client, identity);
    await software.ask({ op: 'wait', name: 'task' });
    const said = acks.next();
    const answer = software.ask({ op: 'ack', name: 'task', detail: 'done it' });
    await said;
    expect(parseAck(Buffer.from(acks.heard[0]!))).toMatchObject({
      ack: { mailbox: 'task', nonce, detail: 'done it' },
    });
    await confirm(client, [nonce]);
    expect(await answer).toMatchObject({ ok: true, confirmed: true });
    software.socket.destroy();
  });

  it('answers so, too, for a delivery by UDP that nobody hears', async () => {
    const deaf = createSocket('udp4').bind(0, '127.0.0.1');
    await once(deaf, 'listening');
    const route = { transport: 'udp', port: deaf.address().port } as const;
    agent.frames.deliver('offshoot.network', identityPayload, route);
    const acks = standing(await agent.host.session());
    await acks.next();
    expect(parseAck(Buffer.from(acks.heard[0]!))).toMatchObject({
      ack: { mailbox: 'offshoot.network', stage: 'applied' },
    });
    deaf.close();
  });

  it('passes the line of a program on, in each session again until it is confirmed', async () => {
    const software = await agent.local();
    const first = standing(await agent.host.session());
    let said = first.next();
    const answer = software.ask({ op: 'send-ack', line: line(5n) });
    await said;
    const client = await agent.host.session();
    const second = standing(client);
    said = second.next();
    await said;
    expect([first.heard, second.heard]).toEqual([[line(5n)], [line(5n)]]);
    await confirm(client, [1n, 5n]);
    expect(await answer).toMatchObject({ ok: true, confirmed: true });
    software.socket.destroy();
  });

  it('forgets the line of a program that is gone', async () => {
    const [leaver, stayer] = [await agent.local(), await agent.local()];
    void leaver.ask({ op: 'send-ack', line: line(5n) });
    await leaver.ask({ op: 'identity' }); // served after it
    leaver.socket.destroy();
    await once(leaver.socket, 'close');
    const answer = stayer.ask({ op: 'send-ack', line: line(6n) });
    const client = await agent.host.session();
    const acks = standing(client);
    await acks.next();
    await confirm(client, [5n, 6n]);
    expect(await answer).toMatchObject({ confirmed: true });
    expect(acks.heard).toEqual([line(6n)]);
    stayer.socket.destroy();
  });

  it('refuses lines that are none', async () => {
    const software = await agent.local();
    for (const wrong of [
      undefined,
      7,
      '',
      'hello',
      `${line(5n)}\n`,
      `${line(5n)} v=1`,
      `${line(5n)} key=1`,
      line(5n).replace('own', 'é'),
      `${line(5n)}${'a'.repeat(1200)}`,
      `${line(5n)}\0`,
    ])
      expect(await software.ask({ op: 'send-ack', line: wrong })).toMatchObject({
        error: { reason: 'INVALID_FIELD' },
      });
    expect(await software.ask({ op: 'send-ack', line: line(5n), name: 'own' })).toMatchObject({
      error: { message: 'name: is not known to send-ack' },
    });
    software.socket.destroy();
  });

  it('holds no more of a flood than a client may have unanswered', async () => {
    const software = await agent.local();
    const answers = Array.from({ length: 1000 }, (_, i) => software.ask({ op: 'send-ack', line: line(BigInt(i + 1)) }));
    for (const answer of answers.slice(16))
      expect(await answer).toMatchObject({ error: { reason: 'TOO_MANY_REQUESTS' } });
    const client = await agent.host.session();
    const acks = standing(client);
    while (acks.heard.length < 16) await acks.next();
    await confirm(
      client,
      Array.from({ length: 16 }, (_, i) => BigInt(i + 1)),
    );
    for (const answer of answers.slice(0, 16)) expect(await answer).toMatchObject({ confirmed: true });
    expect(acks.heard).toHaveLength(16);
    software.socket.destroy();
  });
});
