import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { Writable } from 'node:stream';
import { formatAck, formatAckOk, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { mintInstanceId } from '../domain/ids.js';
import type { AckExpectation, AckListener } from '../ports/ack-listener.js';
import { openUdpAckListener } from './udp-ack-listener.js';

const fork = mintInstanceId();
const expectation: AckExpectation = {
  mailbox: 'task',
  generation: 1,
  nonce: 0xabcn,
  instance: fork,
  fromAddress: '127.0.0.1',
};
const applied: Ack = { mailbox: 'task', generation: 1, nonce: 0xabcn, stage: 'applied', detail: '' };
/** For waits that must end by something else than their signal. */
const never = new AbortController().signal;

/** A listener on loopback, with what it logs. */
class TestListener implements AsyncDisposable {
  private constructor(
    readonly acks: AckListener,
    readonly log: string[],
  ) {}

  static async open(): Promise<TestListener> {
    const log: string[] = [];
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        log.push(chunk.toString());
        done();
      },
    });
    return new TestListener(await openUdpAckListener({ address: '127.0.0.1', logger: pino(sink) }), log);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.acks.close();
  }
}

/** A guest with an address of its own on loopback. */
class TestGuest implements AsyncDisposable {
  private readonly answers: string[] = [];

  private constructor(
    private readonly socket: Socket,
    private readonly port: number,
  ) {
    socket.on('message', (message) => this.answers.push(message.toString()));
  }

  static async at(address: string, port: number): Promise<TestGuest> {
    const socket = createSocket('udp4');
    socket.bind(0, address);
    await once(socket, 'listening');
    return new TestGuest(socket, port);
  }

  async say(line: string | Buffer): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.socket.send(line, this.port, '127.0.0.1', (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  /** Sends and returns everything heard up to the next answer, that one included. */
  async ask(line: string): Promise<string[]> {
    const heard = this.answers.length > 0 ? undefined : once(this.socket, 'message');
    await this.say(line);
    await heard;
    return this.answers.splice(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.socket, 'close');
    this.socket.close();
    await closed;
  }
}

/** Returns once everything sent before was handled: one socket's datagrams stay in order on loopback. */
async function handled(guest: TestGuest, acks: AckListener, fromAddress = '127.0.0.1'): Promise<void> {
  const probe = { mailbox: 'probe', generation: 1, nonce: 0xfeedn };
  using pending = acks.expect({ ...probe, instance: fork, fromAddress });
  const answers = await guest.ask(formatAck({ ...probe, stage: 'applied', detail: '' }));
  await pending.wait(never);
  expect(answers).toEqual([formatAckOk(0xfeedn)]); // nothing before it was answered
}

describe('UDP ack listener', () => {
  it('hands the right ack to the one who waits, and answers it', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    using pending = listener.acks.expect(expectation);
    const ack = { ...applied, detail: 'all is well' };
    const waiting = pending.wait(never);
    expect(await guest.ask(formatAck(ack))).toEqual(['offshoot-ack-ok nonce=0000000000000abc']);
    expect(await waiting).toEqual(ack);
    expect(listener.acks.rejects.size).toBe(0);
  });

  it('keeps an ack that comes before anybody waits', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    using pending = listener.acks.expect(expectation);
    await guest.ask(formatAck(applied));
    expect(await pending.wait(AbortSignal.abort())).toEqual(applied);
  });

  it('answers "received" and waits past it for the final word', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    using pending = listener.acks.expect(expectation);
    const waiting = pending.wait(never);
    expect(await guest.ask(formatAck({ ...applied, stage: 'received' }))).toHaveLength(1);
    const failed: Ack = { ...applied, stage: 'failed', detail: 'no such route' };
    expect(await guest.ask(formatAck(failed))).toHaveLength(1);
    expect(await waiting).toEqual(failed);
  });

  it('answers repeats, and lets the first final word stand', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    using pending = listener.acks.expect(expectation);
    for (let i = 0; i < 3; i++) expect(await guest.ask(formatAck(applied))).toEqual([formatAckOk(0xabcn)]);
    await guest.ask(formatAck({ ...applied, stage: 'failed' }));
    expect(await pending.wait(never)).toEqual(applied);
  });

  it('goes on answering a guest that repeats after nobody waits any more', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    {
      using pending = listener.acks.expect(expectation);
      await guest.ask(formatAck(applied));
      await pending.wait(never);
    }
    expect(await guest.ask(formatAck(applied))).toEqual([formatAckOk(0xabcn)]);
    await guest.say(formatAck({ ...applied, mailbox: 'other' }));
    await handled(guest, listener.acks);
    expect(listener.acks.rejects).toEqual(new Map([['wrong-mailbox', 1]]));
  });

  it('forgets the oldest of 4096 finished deliveries', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    for (let i = 1n; i <= 4097n; i++) listener.acks.expect({ ...expectation, nonce: i })[Symbol.dispose]();
    expect(await guest.ask(formatAck({ ...applied, nonce: 2n }))).toEqual([formatAckOk(2n)]);
    await guest.say(formatAck({ ...applied, nonce: 1n }));
    await handled(guest, listener.acks);
    expect(listener.acks.rejects).toEqual(new Map([['unknown-nonce', 1]]));
  });

  it.each<[string, string, Partial<Ack> | string]>([
    ['a malformed line', 'malformed', 'hello'],
    ['a line that only contains an ack', 'malformed', ` ${formatAck(applied)}`],
    ['a line break after the ack', 'not-ascii', `${formatAck(applied)}\n`],
    ['a long line', 'too-long', 'x'.repeat(1201)],
    ['an unknown key', 'unknown-key', `${formatAck(applied)} fork=1`],
    ['a repeated key', 'repeated-key', `${formatAck(applied)} v=1`],
    ['a missing key', 'missing-key', 'offshoot-ack v=1 mailbox=task'],
    ['a bad value', 'bad-value', formatAck(applied).replace('v=1', 'v=2')],
    ['a wrong nonce', 'unknown-nonce', { nonce: 0xabdn }],
    ['a wrong mailbox', 'wrong-mailbox', { mailbox: 'tasks' }],
    ['a wrong generation', 'wrong-generation', { generation: 2 }],
  ])('drops %s, unanswered, counted as %s', async (_what, reason, said) => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    using pending = listener.acks.expect(expectation);
    await guest.say(typeof said === 'string' ? said : formatAck({ ...applied, ...said }));
    await handled(guest, listener.acks);
    expect(listener.acks.rejects).toEqual(new Map([[reason, 1]]));
    await expect(pending.wait(AbortSignal.abort())).rejects.toMatchObject({ kind: 'Timeout' });
  });

  it("drops the right ack from a neighbour's address", async () => {
    await using listener = await TestListener.open();
    await using neighbour = await TestGuest.at('127.0.0.2', listener.acks.port);
    using pending = listener.acks.expect(expectation);
    await neighbour.say(formatAck(applied));
    await handled(neighbour, listener.acks, '127.0.0.2');
    expect(listener.acks.rejects).toEqual(new Map([['wrong-source', 1]]));
    await expect(pending.wait(AbortSignal.abort())).rejects.toMatchObject({ kind: 'Timeout' });
  });

  it('takes an ack from any address where the hypervisor hides the guest', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.2', listener.acks.port);
    using pending = listener.acks.expect({ mailbox: 'task', generation: 1, nonce: 0xabcn, instance: fork });
    await guest.ask(formatAck(applied));
    expect(await pending.wait(never)).toEqual(applied);
  });

  it('hands an ack that came over the channel of its fork to the one who waits, and says what to confirm', async () => {
    await using listener = await TestListener.open();
    using pending = listener.acks.expect(expectation);
    const waiting = pending.wait(never);
    expect(listener.acks.hear(fork, Buffer.from(formatAck({ ...applied, stage: 'received' })))).toBe(0xabcn);
    expect(listener.acks.hear(fork, Buffer.from(formatAck(applied)))).toBe(0xabcn);
    expect(await waiting).toEqual(applied);
    expect(listener.acks.rejects.size).toBe(0);
  });

  it('takes the first final word of a guest that answers both ways, and confirms both', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    using pending = listener.acks.expect(expectation);
    listener.acks.hear(fork, Buffer.from(formatAck(applied)));
    expect(await guest.ask(formatAck({ ...applied, stage: 'failed' }))).toEqual([formatAckOk(0xabcn)]);
    expect(await pending.wait(never)).toEqual(applied);
    pending[Symbol.dispose]();
    expect(listener.acks.hear(fork, Buffer.from(formatAck(applied)))).toBe(0xabcn);
  });

  it("drops the right ack from a neighbour's channel, whatever the network tells of addresses", async () => {
    await using listener = await TestListener.open();
    using pending = listener.acks.expect({ mailbox: 'task', generation: 1, nonce: 0xabcn, instance: fork });
    expect(listener.acks.hear(mintInstanceId(), Buffer.from(formatAck(applied)))).toBeUndefined();
    expect(listener.acks.rejects).toEqual(new Map([['wrong-source', 1]]));
    await expect(pending.wait(AbortSignal.abort())).rejects.toMatchObject({ kind: 'Timeout' });
  });

  it.each<[string, string, Buffer]>([
    ['a repeated key', 'repeated-key', Buffer.from(`${formatAck(applied)} v=1`)],
    ['an unknown key', 'unknown-key', Buffer.from(`${formatAck(applied)} fork=1`)],
    ['an over-long key', 'too-long', Buffer.from(`${formatAck(applied)} ${'k'.repeat(1200)}=1`)],
    ['a carriage return and a line break', 'not-ascii', Buffer.from(`${formatAck(applied)}\r\n`)],
    ['a NUL', 'not-ascii', Buffer.from(`${formatAck(applied)}\0`)],
    ['something beyond ASCII', 'not-ascii', Buffer.from(`${formatAck(applied)} detail=é`)],
    ['nothing', 'malformed', Buffer.alloc(0)],
    ['as much as a message can have', 'too-long', Buffer.alloc(256 * 1024, 'a')],
    ['a nonce nobody expects', 'unknown-nonce', Buffer.from(formatAck({ ...applied, nonce: 1n }))],
  ])('drops %s from the channel, counted as %s', async (_what, reason, line) => {
    await using listener = await TestListener.open();
    using pending = listener.acks.expect(expectation);
    expect(listener.acks.hear(fork, line)).toBeUndefined();
    expect(listener.acks.rejects).toEqual(new Map([[reason, 1]]));
    await expect(pending.wait(AbortSignal.abort())).rejects.toMatchObject({ kind: 'Timeout' });
  });

  it('tells many waiting forks apart by their nonce', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    const nonces = Array.from({ length: 200 }, (_, i) => BigInt(i + 1));
    const pending = nonces.map((nonce) => listener.acks.expect({ ...expectation, nonce }));
    const waits = Promise.all(pending.map((one) => one.wait(never)));
    for (const nonce of nonces.toReversed()) await guest.ask(formatAck({ ...applied, nonce, detail: String(nonce) }));
    expect((await waits).map(({ detail }) => detail)).toEqual(nonces.map(String));
    for (const one of pending) one[Symbol.dispose]();
  });

  it('fails a wait with Timeout when its signal ends first', async () => {
    await using listener = await TestListener.open();
    using pending = listener.acks.expect(expectation);
    const controller = new AbortController();
    const waiting = pending.wait(controller.signal);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({
      kind: 'Timeout',
      reason: 'ACK_TIMEOUT',
      metadata: { mailbox: 'task', generation: '1' },
    });
  });

  it('counts a flood of 10,000 without a log line for each, and hears the right ack all the same', async () => {
    await using listener = await TestListener.open();
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    using pending = listener.acks.expect(expectation);
    for (let batch = 0; batch < 100; batch++) {
      for (let i = 0; i < 100; i++) {
        const nonce = BigInt(2 ** 32 + batch * 100 + i);
        await guest.say(i % 2 === 0 ? `noise ${String(nonce)}` : formatAck({ ...applied, nonce }));
      }
      await handled(guest, listener.acks); // so that no datagram is lost to a full socket buffer
    }
    await guest.ask(formatAck(applied));
    expect(await pending.wait(never)).toEqual(applied);
    expect(Object.fromEntries(listener.acks.rejects)).toEqual({ malformed: 5000, 'unknown-nonce': 5000 });
    expect(listener.log).toHaveLength(8); // the 1st, 10th, 100th and 1000th of each of the two
    expect(listener.log.join('')).not.toContain('noise');
  });

  it('ends pending waits when it closes, and takes no new ones', async () => {
    await using listener = await TestListener.open();
    using pending = listener.acks.expect(expectation);
    const waits = Promise.allSettled([pending.wait(never), pending.wait(never)]);
    await Promise.all([listener.acks.close(), listener.acks.close()]);
    for (const outcome of await waits)
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { kind: 'Unreachable', reason: 'ACK_LISTENER_CLOSED' },
      });
    await expect(pending.wait(never)).rejects.toMatchObject({ reason: 'ACK_LISTENER_CLOSED' });
    expect(() => listener.acks.expect(expectation)).toThrow(/closed/);
  });

  it('ends pending waits when the expectation is disposed of', async () => {
    await using listener = await TestListener.open();
    const pending = listener.acks.expect(expectation);
    const waiting = pending.wait(never);
    pending[Symbol.dispose]();
    await expect(waiting).rejects.toMatchObject({ kind: 'Aborted', reason: 'ACK_WAIT_ENDED' });
    pending[Symbol.dispose]();
  });

  it('refuses to expect one nonce twice at a time', async () => {
    await using listener = await TestListener.open();
    const pending = listener.acks.expect(expectation);
    expect(() => listener.acks.expect(expectation)).toThrow(/waited for already/);
    pending[Symbol.dispose]();
    using next = listener.acks.expect(expectation);
    pending[Symbol.dispose](); // once more: must not end the next one
    await using guest = await TestGuest.at('127.0.0.1', listener.acks.port);
    await guest.ask(formatAck(applied));
    expect(await next.wait(AbortSignal.abort())).toEqual(applied);
  });

  it('says so when its port is taken or its address is not there', async () => {
    await using listener = await TestListener.open();
    const logger = pino({ enabled: false });
    const { port } = listener.acks;
    await expect(openUdpAckListener({ address: '127.0.0.1', port, logger })).rejects.toMatchObject({
      kind: 'Conflict',
      reason: 'ACK_PORT_TAKEN',
    });
    await expect(openUdpAckListener({ address: '192.0.2.1', logger })).rejects.toMatchObject({
      kind: 'InvalidState',
      reason: 'ACK_ADDRESS_UNUSABLE',
    });
  });
});
