import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server as SocketServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { Server, ServerCredentials, status, type ServerWritableStream } from '@grpc/grpc-js';
import {
  GuestServiceService,
  type GuestServiceServer,
  type ReconfigureNetworkRequest,
  type RegisterMailboxRequest,
  type RegisterMailboxResponse,
  type RegisteredMailbox,
  type StreamAcksRequest,
  type StreamAcksResponse,
  type StreamWorkloadOutputRequest,
  type StreamWorkloadOutputResponse,
} from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { SessionStream } from '@offshoot/shared/channel/session-stream.js';
import { NO_SESSION, WireDecoder, encodeData, encodeSync, newSessionId } from '@offshoot/shared/channel/wire.js';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GuestLink } from '../ports/guest-link.js';
import { GrpcGuestLinkFactory } from './grpc-guest-link.js';

const BOOT_ID = '14a126f3-0c33-47d1-8a26-569f9738cd9b';
const soon = () => AbortSignal.timeout(10_000);

const task = (changes: Partial<RegisteredMailbox> = {}): RegisteredMailbox => ({
  name: 'task',
  tokenFingerprint: '0123456789abcdef',
  nonce: 1n,
  segmentAddresses: [4096n],
  state: 1,
  attached: false,
  ...changes,
});

/** The guest's end: gRPC of grpc-js on sessions of the real wire, behind a Unix socket as a hypervisor has it. */
class Guest {
  readonly server: SocketServer;
  socket: Socket | undefined;
  connections = 0;
  syncs: string[] = [];
  /** What is answered to a sync; nothing when it is false. */
  answers: (session: string) => boolean = () => true;
  mailboxes: RegisteredMailbox[] = [];
  readonly output: string[] = [];
  readonly registrations = new Set<ServerWritableStream<RegisterMailboxRequest, RegisterMailboxResponse>>();
  readonly outputs = new Set<ServerWritableStream<StreamWorkloadOutputRequest, StreamWorkloadOutputResponse>>();
  readonly acks = new Set<ServerWritableStream<StreamAcksRequest, StreamAcksResponse>>();
  readonly confirmed: bigint[][] = [];
  /** As an agent from before acks went over the channel. */
  sendsAcksByUdpAlone = false;
  readonly calls: string[] = [];
  identity: ReconfigureNetworkRequest | undefined;
  outputEnd = 0n;
  thawedAt = 0;
  private readonly injector;
  private readonly grpc = new Server();

  constructor(readonly path: string) {
    const service: GuestServiceServer = {
      hello: (_, callback) => {
        callback(null, {
          agentVersion: '1.0.0',
          bootId: BOOT_ID,
          kernelRelease: '6.1.0',
          mailboxes: this.mailboxes,
        });
      },
      registerMailbox: (call) => {
        this.registrations.add(call);
        call.write({ mailboxes: this.mailboxes });
      },
      reconfigureNetwork: (call, callback) => {
        this.calls.push(`network ${call.request.mac}`);
        this.identity = call.request;
        callback(null, {});
      },
      quiesce: (call, callback) => {
        const { freezeWorkload, timeoutMs } = call.request;
        this.calls.push(`quiesce ${String(freezeWorkload)} ${String(timeoutMs)}`);
        callback(null, { workloadOutputEnd: this.outputEnd });
        this.server.emit('quiesce');
      },
      thaw: (call, callback) => {
        this.calls.push('thaw');
        this.thawedAt = call.request.hostTimeMs;
        callback(null, {});
      },
      startWorkload: (call, callback) => {
        if (call.request.argv[0] === 'refused')
          callback({ code: status.FAILED_PRECONDITION, details: 'a workload is running already' });
        else if (call.request.argv[0] !== 'silent') callback(null, { pid: 77 });
      },
      streamWorkloadOutput: (call) => {
        this.outputs.add(call);
        this.calls.push(`output from ${String(call.request.fromOffset)}`);
      },
      streamAcks: (call) => {
        if (this.sendsAcksByUdpAlone) call.emit('error', { code: status.UNIMPLEMENTED, details: 'no such method' });
        else this.acks.add(call);
        this.server.emit('acks');
      },
      confirmAcks: (call, callback) => {
        this.confirmed.push(call.request.nonces);
        this.server.emit('confirmed', () => {
          callback(null, {});
        });
      },
      shutdown: (_, callback) => {
        callback(null, {});
      },
    };
    this.grpc.addService(GuestServiceService, service);
    this.injector = this.grpc.createConnectionInjector(ServerCredentials.createInsecure());
    this.server = createServer((socket) => {
      this.accept(socket);
    });
  }

  write(bytes: Buffer): void {
    this.socket?.write(bytes);
  }

  close(): void {
    this.socket?.destroy();
    this.server.close();
    this.injector.destroy();
    this.grpc.forceShutdown();
  }

  private accept(socket: Socket): void {
    this.connections += 1;
    this.socket = socket;
    let stream: SessionStream | undefined;
    const decoder = new WireDecoder({
      onSync: (session) => {
        this.syncs.push(session);
        this.server.emit('sync', session);
        stream?.destroy();
        stream = undefined;
        if (!this.answers(session)) return;
        socket.write(encodeSync(session));
        stream = new SessionStream({
          write: (buffers, done) => socket.write(Buffer.concat(buffers), done),
          pauseReading: () => socket.pause(),
          resumeReading: () => socket.resume(),
        });
        stream.on('error', () => undefined);
        this.injector.injectConnection(stream);
      },
      onData: (payload) => stream?.receive(payload),
      onEnd: () => stream?.receiveEnd(),
      onCorrupt: () => undefined,
    });
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      decoder.push(chunk);
    });
  }
}

describe('the link to a guest', () => {
  let directory: string;
  let guest: Guest;
  let link: GuestLink | undefined;
  let output: [number, string][];
  let mailboxChanges: string[][];
  let acks: string[];
  let heard: () => void;
  let alive: boolean;

  const dial = async (): Promise<Duplex> => {
    if (!alive) throw new Error('the VMM is gone');
    const socket = connect(guest.path);
    await once(socket, 'connect');
    return socket;
  };

  /** Waits until `done` holds, looked at whenever the host hears something. */
  const until = (done: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      heard = () => {
        if (done()) resolve();
      };
      heard();
    });

  const open = async (workloadLogOffset = 0): Promise<GuestLink> => {
    const factory = new GrpcGuestLinkFactory({ hostVersion: '1.0.0', logger: pino({ level: 'silent' }) });
    link = await factory.open(
      { dial, workloadLogOffset, logName: 'test' },
      {
        onMailboxes: (mailboxes) => {
          mailboxChanges.push(mailboxes.map(({ name }) => name));
          heard();
        },
        onWorkloadOutput: (offset, data) => {
          output.push([offset, data.toString()]);
          heard();
        },
        onAck: (line) => {
          acks.push(line.toString());
          heard();
          return /^ack [0-9]+$/.test(acks.at(-1)!) ? BigInt(acks.at(-1)!.slice(4)) : undefined;
        },
      },
    );
    return link;
  };

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'offshoot-link-'));
    guest = new Guest(join(directory, 'guest.sock'));
    guest.server.listen(guest.path);
    await once(guest.server, 'listening');
    [output, mailboxChanges, acks, alive] = [[], [], [], true];
    heard = () => undefined;
  });

  afterEach(async () => {
    await link?.close();
    link = undefined;
    guest.close();
    await rm(directory, { recursive: true, force: true });
  });

  it('says hello and hears of mailboxes and of each change', async () => {
    guest.mailboxes = [task()];
    const opened = await open();
    expect(opened.mailboxes()).toBeUndefined();
    expect(await opened.hello(soon())).toEqual({ version: '1.0.0', bootId: BOOT_ID, kernelRelease: '6.1.0' });
    await opened.waitForMailboxes(['task'], soon());
    await until(() => guest.registrations.size === 1);
    const waiting = opened.waitForMailboxes(['task', 'other'], soon());
    for (const call of guest.registrations)
      call.write({ mailboxes: [task(), task({ name: 'other', segmentAddresses: [8192n] })] });
    await waiting;
    expect(opened.mailboxes()?.map(({ name }) => name)).toEqual(['task', 'other']);
  });

  it('names the mailboxes that are armed when those wanted are not', async () => {
    guest.mailboxes = [task(), task({ name: 'spent', segmentAddresses: [8192n], state: 3 })];
    const opened = await open();
    await opened.hello(soon());
    await expect(opened.waitForMailboxes(['nope'], AbortSignal.timeout(50))).rejects.toMatchObject({
      kind: 'Timeout',
      metadata: { wanted: 'nope', armed: 'task' },
    });
  });

  it('hands on workload output from the offset it was given and resumes behind what it has', async () => {
    const opened = await open(100);
    await opened.hello(soon());
    await until(() => guest.calls.includes('output from 100'));
    for (const call of guest.outputs) call.write({ offset: 100n, data: Buffer.from('hello') });
    await until(() => output.length === 1);
    opened.wake();
    await until(() => mailboxChanges.length >= 4);
    expect([output, opened.workloadLogOffset]).toEqual([[[100, 'hello']], 105]);
    expect(guest.calls).toContain('output from 105');
  });

  it('writes the marker of a new session before wake returns', async () => {
    const opened = await open();
    await opened.hello(soon());
    const before = guest.syncs.length;
    const sync = once(guest.server, 'sync');
    opened.wake();
    await sync;
    expect(guest.syncs.length).toBe(before + 1);
    expect(new Set(guest.syncs).size).toBe(guest.syncs.length);
  });

  it('says nothing in the session of a wake until it is told to speak', async () => {
    const opened = await open();
    await opened.hello(soon());
    await until(() => guest.calls.length === 1);
    const sync = once(guest.server, 'sync');
    opened.wake();
    await sync;
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(guest.calls).toEqual(['output from 0']);
    opened.speak();
    await until(() => guest.calls.length === 2);
    opened.speak();
  });

  it('speaks at once when something is asked of the guest after a wake', async () => {
    const opened = await open();
    await opened.hello(soon());
    opened.wake();
    await opened.thaw(AbortSignal.timeout(900)); // sooner than it would speak by itself
    expect(guest.calls).toContain('thaw');
  });

  it('hands on what the guest says to be acks, and confirms those that count', async () => {
    const standing = once(guest.server, 'acks');
    await open();
    await standing;
    const confirmed = once(guest.server, 'confirmed');
    for (const call of guest.acks) for (const line of ['nonsense', 'ack 7']) call.write({ line: Buffer.from(line) });
    await confirmed;
    expect([acks, guest.confirmed]).toEqual([['nonsense', 'ack 7'], [[7n]]]);
  });

  it('confirms a flood of acks in one call at a time, each nonce once', async () => {
    const standing = once(guest.server, 'acks');
    await open();
    await standing;
    const first = once(guest.server, 'confirmed');
    const [call] = guest.acks;
    call!.write({ line: Buffer.from('ack 1') });
    const [answer] = (await first) as [() => void];
    const lines = Array.from({ length: 10_000 }, (_, i) => (i % 2 === 0 ? `ack ${String(i % 20)}` : 'noise'));
    for (const line of lines) call!.write({ line: Buffer.from(line) });
    await until(() => acks.length === 10_001);
    expect(guest.confirmed).toEqual([[1n]]);
    const second = once(guest.server, 'confirmed');
    answer();
    await second;
    expect(guest.confirmed[1]).toEqual([0n, 2n, 4n, 6n, 8n, 10n, 12n, 14n, 16n, 18n]);
  });

  it('asks for acks anew in the next session', async () => {
    let standing = once(guest.server, 'acks');
    const opened = await open();
    await standing;
    standing = once(guest.server, 'acks');
    opened.wake();
    await standing;
    [...guest.acks].at(-1)!.write({ line: Buffer.from('ack 7') });
    await once(guest.server, 'confirmed');
    expect(acks).toEqual(['ack 7']);
  });

  it('gives a session up in which the acks are too large to be any', async () => {
    const standing = once(guest.server, 'acks');
    const opened = await open();
    await standing;
    await opened.hello(soon());
    const next = once(guest.server, 'acks');
    for (const call of guest.acks) call.write({ line: Buffer.alloc(256 * 1024) });
    await next;
    expect(acks).toEqual([]);
  });

  it('goes on with an agent that sends its acks by UDP alone', async () => {
    guest.sendsAcksByUdpAlone = true;
    const refused = once(guest.server, 'acks');
    const opened = await open();
    await refused;
    await until(() => guest.outputs.size === 1);
    for (const call of guest.outputs) call.write({ offset: 0n, data: Buffer.from('hello') });
    await until(() => output.length === 1);
    await opened.thaw(soon());
    expect([guest.syncs.length, guest.outputs.size]).toEqual([1, 1]);
    const next = once(guest.server, 'sync');
    for (const call of guest.registrations) call.end();
    await next;
  });

  it('makes a guest quiet, and waits until all that its workload said is here', async () => {
    const opened = await open();
    await opened.hello(soon());
    await until(() => guest.calls.includes('output from 0'));
    guest.outputEnd = 5n;
    const asked = once(guest.server, 'quiesce');
    const before = performance.now();
    let quiet = false;
    const quiesced = opened.quiesce({ freezeWorkload: true, timeoutMs: 10_000 }, soon()).then((answer) => {
      quiet = true;
      return answer;
    });
    await asked;
    expect([quiet, guest.calls.at(-1)]).toEqual([false, 'quiesce true 10000']);
    for (const call of guest.outputs) call.write({ offset: 0n, data: Buffer.from('hello') });
    const { stopBefore } = await quiesced;
    expect(stopBefore).toBeGreaterThanOrEqual(before + 9000);
    expect(stopBefore).toBeLessThanOrEqual(performance.now() + 9000);
  });

  it('waits no longer for output than a capture would still be good, whatever the guest claims', async () => {
    const opened = await open();
    await opened.hello(soon());
    guest.outputEnd = 2n ** 64n - 1n;
    await expect(opened.quiesce({ freezeWorkload: false, timeoutMs: 1000 }, soon())).rejects.toMatchObject({
      reason: 'WORKLOAD_OUTPUT_LATE',
    });
  });

  it.each([0, 999, 60_001, 1000.5, NaN])('refuses a quiesce of %d ms before it asks the guest', async (timeoutMs) => {
    const opened = await open();
    await expect(opened.quiesce({ freezeWorkload: true, timeoutMs }, soon())).rejects.toMatchObject({
      kind: 'InvalidInput',
    });
    expect(guest.calls.some((call) => call.startsWith('quiesce'))).toBe(false);
  });

  it('tells the time with a thaw', async () => {
    const opened = await open();
    const before = Date.now();
    await opened.thaw(soon());
    expect(guest.calls).toContain('thaw');
    expect(guest.thawedAt).toBeGreaterThanOrEqual(before);
    expect(guest.thawedAt).toBeLessThanOrEqual(Date.now());
  });

  it('hands a whole identity to the guest by call', async () => {
    const opened = await open();
    const identity = { slot: 0, mac: '02:00:00:00:00:02', ipv4: '10.0.0.2', prefixLength: 24, gateway: '10.0.0.1' };
    const inside = { hostname: 'fork-1', machineId: 'ab'.repeat(16), entropy: Buffer.alloc(64, 1), hostTimeMs: 7.5 };
    await opened.reconfigureNetwork({ ...identity, ...inside }, soon());
    expect(guest.identity).toMatchObject({ mac: '02:00:00:00:00:02', ...inside });
    await opened.reconfigureNetwork(identity, soon());
    expect(guest.identity?.hostname).toBeUndefined();
  });

  it('discards the second half of whatever an earlier host was told', async () => {
    guest.answers = (session) => {
      guest.write(Buffer.concat(encodeData(Buffer.alloc(200, 'stale'))).subarray(7));
      guest.write(encodeSync(newSessionId())); // the answer to a sync of that earlier host
      guest.write(Buffer.concat(encodeData(Buffer.from('PRI * HTTP/2.0'))));
      return session !== '';
    };
    const opened = await open();
    expect((await opened.hello(soon())).bootId).toBe(BOOT_ID);
  });

  it('asks again when a sync is not answered within a second', async () => {
    guest.answers = () => guest.syncs.length > 1;
    const opened = await open();
    await opened.hello(soon());
    expect(guest.syncs.length).toBe(2);
  });

  it('begins a session when an agent that just started asks for one', async () => {
    guest.answers = () => guest.syncs.length > 1;
    const opened = await open();
    await once(guest.server, 'sync');
    guest.write(encodeSync(NO_SESSION));
    await opened.hello(soon());
  });

  it('dials again when the channel breaks and goes on', async () => {
    const opened = await open();
    await opened.hello(soon());
    const again = once(guest.server, 'sync');
    guest.socket?.destroy();
    await again;
    await opened.reconfigureNetwork(
      { slot: 1, mac: '02:00:00:00:00:01', ipv4: '10.0.0.2', prefixLength: 24, gateway: '10.0.0.1' },
      soon(),
    );
    expect([guest.connections, guest.calls.at(-1)]).toEqual([2, 'network 02:00:00:00:00:01']);
  });

  it('ends quietly when the VMM is gone, and whoever waits hears that', async () => {
    guest.answers = () => false;
    const opened = await open();
    const hello = expect(opened.hello(soon())).rejects.toMatchObject({ kind: 'Unreachable', reason: 'GUEST_GONE' });
    const mailboxes = expect(opened.waitForMailboxes(['x'], soon())).rejects.toMatchObject({ kind: 'Unreachable' });
    await once(guest.server, 'sync');
    alive = false;
    guest.socket?.destroy();
    await Promise.all([hello, mailboxes]);
  });

  it('cannot be opened where nothing answers', async () => {
    alive = false;
    await expect(open()).rejects.toMatchObject({ kind: 'Unreachable', reason: 'GUEST_CHANNEL' });
  });

  it('gives a silent agent up when the signal ends', async () => {
    guest.answers = () => false;
    const opened = await open();
    await expect(opened.hello(AbortSignal.timeout(50))).rejects.toMatchObject({ kind: 'Timeout' });
  });

  it('passes on what the guest refuses, and its pid otherwise', async () => {
    const opened = await open();
    const workload = { env: {}, workingDirectory: '', files: [] };
    await expect(opened.startWorkload({ ...workload, argv: ['refused'] }, soon())).rejects.toMatchObject({
      kind: 'InvalidState',
      message: expect.stringContaining('a workload is running already') as string,
    });
    expect(await opened.startWorkload({ ...workload, argv: ['true'] }, soon())).toBe(77);
    await opened.shutdown(soon());
  });

  it('gives a call up with the signal, and loses only the call', async () => {
    const opened = await open();
    await opened.hello(soon());
    const workload = { argv: ['silent'], env: {}, workingDirectory: '', files: [] };
    await expect(opened.startWorkload(workload, AbortSignal.timeout(50))).rejects.toMatchObject({ kind: 'Aborted' });
    expect(await opened.startWorkload({ ...workload, argv: ['true'] }, soon())).toBe(77);
  });

  it('fails a call whose session is superseded', async () => {
    const opened = await open();
    await opened.hello(soon());
    const call = opened.startWorkload({ argv: ['silent'], env: {}, workingDirectory: '', files: [] }, soon());
    const refused = expect(call).rejects.toMatchObject({ kind: 'Unreachable' });
    opened.wake();
    await refused;
  });

  it('takes nothing of a nonsensical set of mailboxes and begins anew', async () => {
    guest.mailboxes = [task({ segmentAddresses: [4097n] })];
    const opened = await open();
    const again = until(() => mailboxChanges.length > 0);
    await once(guest.server, 'sync');
    guest.mailboxes = [task()];
    await opened.hello(soon());
    await again;
    expect(mailboxChanges.every((names) => names.join() === 'task')).toBe(true);
  });

  it('survives a guest that speaks neither the wire nor HTTP/2', async () => {
    const opened = await open();
    await opened.hello(soon());
    guest.answers = (session) => {
      guest.answers = () => true;
      guest.write(encodeSync(session));
      guest.write(Buffer.concat([...encodeData(Buffer.alloc(5000, 0xff)), Buffer.alloc(100, 0x7f)]));
      return false;
    };
    opened.wake();
    await once(guest.server, 'sync');
    expect(await opened.startWorkload({ argv: ['true'], env: {}, workingDirectory: '', files: [] }, soon())).toBe(77);
  });

  it('refuses everything once closed', async () => {
    const opened = await open();
    await opened.hello(soon());
    await opened.close();
    opened.wake();
    await expect(opened.hello(soon())).rejects.toMatchObject({ reason: 'GUEST_LINK_CLOSED' });
  });
});
