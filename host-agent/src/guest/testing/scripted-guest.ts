import { createServer, type Server as SocketServer, type Socket } from 'node:net';
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
import { WireDecoder, encodeSync } from '@offshoot/shared/channel/wire.js';

/** Of the right form. */
export const CREDENTIAL = Buffer.alloc(43, 'credential');
export const BOOT_ID = '14a126f3-0c33-47d1-8a26-569f9738cd9b';
export const soon = (): AbortSignal => AbortSignal.timeout(10_000);

export const task = (changes: Partial<RegisteredMailbox> = {}): RegisteredMailbox => ({
  name: 'task',
  tokenFingerprint: '0123456789abcdef',
  nonce: 1n,
  segmentAddresses: [4096n],
  state: 1,
  attached: false,
  ...changes,
});

/** The guest's end: gRPC of grpc-js on sessions of the real wire, behind a Unix socket as a hypervisor has it. */
export class ScriptedGuest {
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
  /** What the last thaw brought. */
  credential: string | undefined;
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
        this.credential = call.request.credential?.toString('latin1');
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
