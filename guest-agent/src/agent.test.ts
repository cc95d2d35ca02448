import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import {
  GuestServiceClient,
  type HelloResponse,
  type QuiesceRequest,
  type QuiesceResponse,
  type ReconfigureNetworkRequest,
  type ReconfigureNetworkResponse,
  type StartWorkloadRequest,
  type StartWorkloadResponse,
  type ThawRequest,
  type ThawResponse,
} from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { SessionStream } from '@offshoot/shared/channel/session-stream.js';
import { WireDecoder, encodeSync, newSessionId } from '@offshoot/shared/channel/wire.js';
import { formatAckOk, parseAck, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import { readFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runAgent } from './agent.js';
import { SocketPairSource } from './channel/socket-pair-source.js';
import { FramesOfTest } from './mailbox/frames-of-test.js';
import { HookDirectory } from './hooks/hook-directory.js';
import { RecordedParts } from './identity/recorded-parts.js';
import { WorkloadCgroup } from './workload/workload-cgroup.js';

/** The host's end: sessions on the real wire, and grpc-js's own client led into each. */
class Host {
  private stream: SessionStream | undefined;
  private wanted = '';
  private readonly clients: GuestServiceClient[] = [];
  private readonly bridges: Server[] = [];

  constructor(
    private readonly socket: Socket,
    private readonly directory: string,
  ) {
    const decoder = new WireDecoder({
      onSync: (session) => {
        this.stream?.destroy();
        this.stream = undefined;
        if (session === this.wanted) this.socket.emit('answered');
      },
      onData: (payload) => this.stream?.receive(payload),
      onEnd: () => this.stream?.receiveEnd(),
      onCorrupt: () => undefined,
    });
    socket.on('data', (chunk: Buffer) => {
      decoder.push(chunk);
    });
  }

  async session(): Promise<GuestServiceClient> {
    const answered = once(this.socket, 'answered');
    this.wanted = newSessionId();
    this.socket.write(encodeSync(this.wanted));
    await answered;
    const stream = new SessionStream({
      write: (buffers, done) => this.socket.write(Buffer.concat(buffers), done),
      pauseReading: () => this.socket.pause(),
      resumeReading: () => this.socket.resume(),
    });
    stream.on('error', () => undefined);
    this.stream = stream;
    const path = join(this.directory, `bridge-${String(this.bridges.length)}`);
    const bridge = createServer((inner) => {
      inner.on('error', () => undefined);
      inner.pipe(stream).pipe(inner);
    }).listen(path);
    this.bridges.push(bridge);
    await once(bridge, 'listening');
    const client = new GuestServiceClient(`unix:${path}`, credentials.createInsecure());
    this.clients.push(client);
    return client;
  }

  close(): void {
    for (const client of this.clients) client.close();
    this.stream?.destroy();
    for (const bridge of this.bridges) bridge.close();
    this.socket.destroy();
  }
}

/** A client of the local socket: sends a request, returns the answer with its id. */
class Local {
  private next = 0;
  private readonly waiting = new Map<unknown, (answer: Record<string, unknown>) => void>();
  private constructor(readonly socket: Socket) {
    createInterface({ input: socket }).on('line', (line) => {
      const answer = JSON.parse(line) as Record<string, unknown>;
      this.waiting.get(answer.id)?.(answer);
    });
  }
  static async connect(path: string): Promise<Local> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new Local(socket);
  }
  ask(request: object): Promise<Record<string, unknown>> {
    const id = this.next++;
    const answer = new Promise<Record<string, unknown>>((resolve) => this.waiting.set(id, resolve));
    this.socket.write(`${JSON.stringify({ id, ...request })}\n`);
    return answer;
  }
}

const identity = { mac: '02:00:00:00:00:0b', ipv4: '10.0.2.30', prefixLength: 24, gateway: '10.0.2.2' };
const hello = (client: GuestServiceClient) =>
  promisify<object, HelloResponse>(client.hello.bind(client) as never)({ hostVersion: '1' });
const reconfigure = (client: GuestServiceClient, request: ReconfigureNetworkRequest) =>
  promisify<ReconfigureNetworkRequest, ReconfigureNetworkResponse>(client.reconfigureNetwork.bind(client) as never)(
    request,
  );
const start = (client: GuestServiceClient, request: StartWorkloadRequest) =>
  promisify<StartWorkloadRequest, StartWorkloadResponse>(client.startWorkload.bind(client) as never)(request);
const quiesce = (client: GuestServiceClient, request: QuiesceRequest) =>
  promisify<QuiesceRequest, QuiesceResponse>(client.quiesce.bind(client) as never)(request);
const thaw = (client: GuestServiceClient, request: ThawRequest) =>
  promisify<ThawRequest, ThawResponse>(client.thaw.bind(client) as never)(request);

describe('the guest agent', () => {
  let directory: string;
  let frames: FramesOfTest;
  let source: SocketPairSource;
  let host: Host;
  let stop: AbortController;
  let running: Promise<void>;
  let parts: RecordedParts;
  let udp: UdpSocket;
  let acks: Ack[];
  let onAck: () => void;
  let poweredOff: Promise<void>;

  const local = () => Local.connect(join(directory, 'guest.sock'));
  const route = () => ({ transport: 'udp', port: udp.address().port }) as const;
  const ackOf = (mailbox: string): Promise<Ack> =>
    new Promise((resolve) => {
      onAck = () => {
        const found = acks.find((ack) => ack.mailbox === mailbox);
        if (found !== undefined) resolve(found);
      };
      onAck();
    });

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'offshoot-agent-'));
    [frames, source, stop, parts, acks] = [
      new FramesOfTest(),
      new SocketPairSource(),
      new AbortController(),
      new RecordedParts(),
      [],
    ];
    onAck = () => undefined;
    udp = createSocket('udp4', (datagram, peer) => {
      const parsed = parseAck(datagram);
      if (!parsed.ok) return;
      acks.push(parsed.ack);
      udp.send(formatAckOk(parsed.ack.nonce), peer.port, peer.address);
      onAck();
    });
    udp.bind(0, '127.0.0.1');
    await once(udp, 'listening');
    host = new Host(source.host, directory);
    let off = (): void => undefined;
    poweredOff = new Promise((resolve) => (off = resolve));
    running = runAgent(
      {
        source,
        localSocket: join(directory, 'guest.sock'),
        identity: parts,
        describe: () => ({
          hostname: 'fork-1',
          machineId: '',
          mac: '',
          ipv4: '',
          gateway: '',
          generation: parts.generation.current,
        }),
        hooks: {
          beforeSnapshot: new HookDirectory(join(directory, 'before-snapshot.d')),
          afterFork: new HookDirectory(join(directory, 'after-fork.d')),
        },
        workloads: WorkloadCgroup.open('/nonexistent'),
        sync: () => {
          parts.note('sync');
          return Promise.resolve();
        },
        powerOff: async (flushed) => {
          await flushed();
          off();
        },
      },
      stop.signal,
    );
    await host.session(); // it answers, so it listens
  });

  afterEach(async () => {
    stop.abort();
    host.close();
    await running;
    udp.close();
    frames[Symbol.dispose]();
    await rm(directory, { recursive: true, force: true });
  });

  it('says hello in each session, and a new one supersedes the old', async () => {
    const first = await host.session();
    expect(await hello(first)).toMatchObject({ bootId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string });
    expect((await hello(await host.session())).kernelRelease).not.toBe('');
  });

  it('puts a delivered identity into force, answers for it, and arms its mailbox anew', async () => {
    const { nonce } = readFrameHeader(frames.page('offshoot.network'));
    const delivery = frames.deliver('offshoot.network', Buffer.from(JSON.stringify(identity)), route());
    source.host.write('w');
    expect(await ackOf('offshoot.network')).toMatchObject({ stage: 'applied', nonce: delivery, generation: 1 });
    expect(parts.calls).toEqual(['network 10.0.2.30', 'generation 1']);
    const header = readFrameHeader(frames.page('offshoot.network'));
    expect([header.state, header.generation, header.nonce === nonce]).toEqual(['armed', 0, false]);
  });

  it.each([
    ['is malformed', '{"mac":"x"}', undefined, 'mac'],
    ['the kernel refuses', JSON.stringify(identity), new Error('EPERM: ioctl'), 'EPERM'],
    ['is not JSON', 'nonsense', undefined, 'JSON'],
  ])('answers that it failed when an identity %s', async (_, payload, error, detail) => {
    if (error !== undefined) parts.failures.set('network', error);
    frames.deliver('offshoot.network', Buffer.from(payload), route());
    source.host.write('w');
    const ack = await ackOf('offshoot.network');
    expect([ack.stage, parts.calls]).toEqual(['failed', []]);
    expect(ack.detail).toContain(detail);
  });

  it('hands a delivery to guest software after the identity of the fork, and sends its answer', async () => {
    const software = await local();
    expect(await software.ask({ op: 'arm', name: 'task', token: 'tk' })).toEqual({ id: 0, ok: true, token: 'tk' });
    const waiting = software.ask({ op: 'wait', name: 'task', timeoutMs: 10_000 });
    frames.deliver('task', Buffer.from('{"n":7}'), route());
    frames.deliver('offshoot.network', Buffer.from(JSON.stringify(identity)), route());
    source.host.write('w');
    expect(await waiting).toEqual({ id: 1, ok: true, generation: 1, contentType: 'json', text: '{"n":7}' });
    expect(parts.calls).toContain('network 10.0.2.30');
    expect(await software.ask({ op: 'ack', name: 'task', detail: 'done it' })).toEqual({
      id: 2,
      ok: true,
      confirmed: true,
    });
    expect(acks.find(({ mailbox }) => mailbox === 'task')).toMatchObject({ stage: 'applied', detail: 'done it' });
    software.socket.destroy();
  });

  it('holds a delivery back until the host gave the identity by call', async () => {
    const software = await local();
    await software.ask({ op: 'arm', name: 'task' });
    frames.deliver('task', Buffer.from([0, 255]), { transport: 'none' }, 'bytes');
    expect(await software.ask({ op: 'wait', name: 'task', timeoutMs: 30 })).toMatchObject({
      ok: false,
      error: { reason: 'MAILBOX_EMPTY' },
    });
    const waiting = software.ask({ op: 'wait', name: 'task' });
    await reconfigure(await host.session(), identity);
    expect(await waiting).toMatchObject({ contentType: 'bytes', base64: 'AP8=' });
    expect(await software.ask({ op: 'ack', name: 'task' })).toMatchObject({ ok: true, confirmed: false });
    software.socket.destroy();
  });

  it('keeps a mailbox whose client is gone', async () => {
    const first = await local();
    await first.ask({ op: 'arm', name: 'task' });
    first.socket.destroy();
    frames.deliver('offshoot.network', Buffer.from(JSON.stringify(identity)));
    frames.deliver('task', Buffer.from('1'));
    const second = await local();
    expect(await second.ask({ op: 'wait', name: 'task' })).toMatchObject({ ok: true, text: '1' });
    expect(await second.ask({ op: 'dispose', name: 'task' })).toMatchObject({ ok: true });
    expect(frames.names()).not.toContain('task');
    second.socket.destroy();
  });

  it('tells the host of every change of its mailboxes', async () => {
    const client = await host.session();
    const call = client.registerMailbox({});
    call.on('error', () => undefined);
    await once(call, 'data');
    const changed = once(call, 'data');
    const software = await local();
    await software.ask({ op: 'arm', name: 'task' });
    await changed;
    call.cancel();
    software.socket.destroy();
  });

  it('refuses local requests that are malformed, in words', async () => {
    const software = await local();
    const refused = async (request: object): Promise<unknown> => (await software.ask(request)).error;
    expect(await refused({ op: 'sing' })).toMatchObject({
      reason: 'INVALID_FIELD',
      message: expect.stringContaining('op') as string,
    });
    expect(await refused({ op: 'arm' })).toMatchObject({ message: 'name: must be a string' });
    expect(await refused({ op: 'arm', name: 'a', tokn: 'x' })).toMatchObject({ message: 'tokn: is not known to arm' });
    expect(await refused({ op: 'arm', name: 'offshoot.x' })).toMatchObject({ reason: 'MAILBOX_NAME_RESERVED' });
    expect(await refused({ op: 'wait', name: 'nobody' })).toMatchObject({ reason: 'MAILBOX_NOT_ARMED' });
    expect(await refused({ op: 'wait', name: 'nobody', timeoutMs: -1 })).toMatchObject({ kind: 'InvalidInput' });
    software.socket.write(`${'x'.repeat(9000)}\n`);
    await once(software.socket, 'close');
  });

  it('refuses more than 16 unanswered requests of one client', async () => {
    const software = await local();
    await software.ask({ op: 'arm', name: 'task' });
    const answers = Array.from({ length: 17 }, () => software.ask({ op: 'wait', name: 'task', timeoutMs: 5000 }));
    expect(await Promise.race(answers)).toMatchObject({ error: { reason: 'TOO_MANY_REQUESTS' } });
    software.socket.destroy();
  });

  it('streams the output of a workload from any offset', async () => {
    const client = await host.session();
    const { pid } = await start(client, { argv: ['echo', 'hello'], env: {}, workingDirectory: '', files: [] });
    expect(pid).toBeGreaterThan(0);
    const read = async (fromOffset: bigint): Promise<string> => {
      const call = client.streamWorkloadOutput({ fromOffset });
      call.on('error', () => undefined);
      let text = '';
      for await (const piece of call) {
        text += (piece as { data: Buffer }).data.toString();
        if (text.endsWith('code 0\n')) break;
      }
      return text;
    };
    expect(await read(0n)).toBe('hello\noffshoot: workload exited with code 0\n');
    expect(await read(6n)).toBe('offshoot: workload exited with code 0\n');
    const beyond = client.streamWorkloadOutput({ fromOffset: 1000n });
    await expect(once(beyond, 'data')).rejects.toThrow('beyond the end');
  });

  it('puts a whole identity into force by call', async () => {
    const inside = { hostname: 'fork-1', machineId: 'ab'.repeat(16), entropy: Buffer.alloc(64), hostTimeMs: 2 ** 40 };
    await reconfigure(await host.session(), { ...identity, ...inside });
    expect(parts.calls).toEqual([
      'network 10.0.2.30',
      `clock ${String(2 ** 40)}`,
      'entropy 64',
      'hostname fork-1',
      'machine-id 32',
      'host-keys removed',
      'generation 1',
    ]);
    const software = await local();
    expect(await software.ask({ op: 'identity' })).toMatchObject({ ok: true, hostname: 'fork-1', generation: 1 });
    software.socket.destroy();
  });

  it('is quiet when the host asks, says how far the output went, and catches up with the time when it is thawed', async () => {
    const client = await host.session();
    expect(await quiesce(client, { freezeWorkload: true, timeoutMs: 0 })).toEqual({ workloadOutputEnd: 0n });
    await thaw(client, { hostTimeMs: 6000 });
    expect(parts.calls).toEqual(['sync', 'sync', 'clock 6000']);
    await expect(quiesce(client, { freezeWorkload: true, timeoutMs: 1 })).rejects.toMatchObject({ code: 3 });
    await expect(thaw(client, { hostTimeMs: NaN })).rejects.toMatchObject({ code: 3 });
  });

  it('refuses to be quiet when it cannot freeze its workload, unless that is not wanted', async () => {
    const client = await host.session();
    await start(client, { argv: ['true'], env: {}, workingDirectory: '', files: [] });
    await expect(quiesce(client, { freezeWorkload: true, timeoutMs: 0 })).rejects.toMatchObject({ code: 12 });
    await quiesce(client, { freezeWorkload: false, timeoutMs: 0 });
  });

  it('refuses a malformed identity by call with INVALID_ARGUMENT', async () => {
    await expect(reconfigure(await host.session(), { ...identity, mac: 'x' })).rejects.toMatchObject({ code: 3 });
  });

  it('answers a shutdown before it powers off', async () => {
    const client = await host.session();
    await promisify<object, object>(client.shutdown.bind(client) as never)({});
    await poweredOff;
  });
});
