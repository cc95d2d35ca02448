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
  type ReconfigureNetworkRequest,
  type ReconfigureNetworkResponse,
} from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { SessionStream } from '@offshoot/shared/channel/session-stream.js';
import { WireDecoder, encodeSync, newSessionId } from '@offshoot/shared/channel/wire.js';
import { formatAckOk, parseAck, type Ack } from '@offshoot/shared/mailbox/ack-line.js';
import type { AckRoute } from '@offshoot/shared/mailbox/frame.js';
import { runAgent } from './agent.js';
import { SocketPairSource } from './channel/socket-pair-source.js';
import { HookDirectory } from './hooks/hook-directory.js';
import { RecordedParts } from './identity/recorded-parts.js';
import { FramesOfTest } from './mailbox/frames-of-test.js';
import { WorkloadCgroup } from './workload/workload-cgroup.js';

/** The host's end: sessions on the real wire, and grpc-js's own client led into each. */
export class Host {
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
export class Local {
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

/** The identity of a fork, and its form as a payload. */
export const identity = { mac: '02:00:00:00:00:0b', ipv4: '10.0.2.30', prefixLength: 24, gateway: '10.0.2.2' };
export const identityPayload = Buffer.from(JSON.stringify(identity));

/** ReconfigureNetwork: the identity by call. */
export const reconfigure = (client: GuestServiceClient, request: ReconfigureNetworkRequest) =>
  promisify<ReconfigureNetworkRequest, ReconfigureNetworkResponse>(client.reconfigureNetwork.bind(client) as never)(
    request,
  );

/** An agent in this process, with a host at its channel and one that hears its acknowledgements by UDP. */
export class AgentOfTest implements AsyncDisposable {
  readonly frames = new FramesOfTest();
  readonly source = new SocketPairSource();
  readonly parts = new RecordedParts();
  readonly acks: Ack[] = [];
  readonly host: Host;
  /** Resolves when the agent powers its machine off. */
  readonly poweredOff: Promise<void>;
  private readonly stop = new AbortController();
  private readonly running: Promise<void>;
  private onAck = (): void => undefined;

  private constructor(
    readonly directory: string,
    private readonly udp: UdpSocket,
  ) {
    udp.on('message', (datagram, peer) => {
      const parsed = parseAck(datagram);
      if (!parsed.ok) return;
      this.acks.push(parsed.ack);
      udp.send(formatAckOk(parsed.ack.nonce), peer.port, peer.address);
      this.onAck();
    });
    this.host = new Host(this.source.host, directory);
    let off = (): void => undefined;
    this.poweredOff = new Promise((resolve) => (off = resolve));
    this.running = runAgent(
      {
        source: this.source,
        localSocket: join(directory, 'guest.sock'),
        identity: this.parts,
        present: () => undefined,
        describe: () => ({
          hostname: 'fork-1',
          machineId: '',
          mac: '',
          ipv4: '',
          gateway: '',
          generation: this.parts.generation.current,
        }),
        hooks: {
          beforeSnapshot: new HookDirectory(join(directory, 'before-snapshot.d')),
          afterFork: new HookDirectory(join(directory, 'after-fork.d')),
        },
        workloads: WorkloadCgroup.open('/nonexistent'),
        sync: () => {
          this.parts.note('sync');
          return Promise.resolve();
        },
        powerOff: async (flushed) => {
          await flushed();
          off();
        },
      },
      this.stop.signal,
    );
  }

  static async start(): Promise<AgentOfTest> {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-agent-'));
    const udp = createSocket('udp4').bind(0, '127.0.0.1');
    await once(udp, 'listening');
    const agent = new AgentOfTest(directory, udp);
    await agent.host.session(); // it answers, so it listens
    return agent;
  }

  local(): Promise<Local> {
    return Local.connect(join(this.directory, 'guest.sock'));
  }

  /** Where this host hears acknowledgements. */
  route(): Pick<AckRoute, 'transport' | 'port'> {
    return { transport: 'udp', port: this.udp.address().port };
  }

  /** The first acknowledgement of a mailbox. */
  ackOf(mailbox: string): Promise<Ack> {
    return new Promise((resolve) => {
      this.onAck = () => {
        const found = this.acks.find((ack) => ack.mailbox === mailbox);
        if (found !== undefined) resolve(found);
      };
      this.onAck();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort();
    this.host.close();
    await this.running;
    this.udp.close();
    this.frames[Symbol.dispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}
