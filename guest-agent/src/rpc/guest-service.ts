import { release } from 'node:os';
import { readFileSync } from 'node:fs';
import type { ServerUnaryCall, ServerWritableStream, handleUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import type {
  GuestServiceServer,
  RegisterMailboxRequest,
  RegisterMailboxResponse,
  RegisteredMailbox,
  StreamAcksRequest,
  StreamAcksResponse,
  StreamWorkloadOutputRequest,
  StreamWorkloadOutputResponse,
} from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { log } from '../log.js';
import { parseForkIdentity, type ForkIdentity } from '../identity/fork-identity.js';
import type { AckUnderWay, ChannelAcks } from '../mailbox/channel-acks.js';
import type { QuiesceRequest } from '../quiesce/quiescence.js';
import { AGENT_VERSION } from '../version.js';
import type { OutputRing } from '../workload/output-ring.js';
import type { Workload, WorkloadRequest } from '../workload/workload.js';
import type { StandingCalls } from './standing-calls.js';
import { statusOf } from './status-of.js';

/** What the calls of offshoot.guest.v1 work on. */
export interface GuestServiceParts {
  registrations(): RegisteredMailbox[];
  /** Calls back after each change of the registrations, until the returned function is called. */
  onRegistrations(listener: () => void): () => void;
  applyIdentity(identity: ForkIdentity): Promise<void>;
  quiesce(request: QuiesceRequest): Promise<void>;
  /**
   * @param hostTimeMs wall clock of the host when it asked, in milliseconds since 1970; 0 when it does not say
   * @param credential the new one; undefined for none. Wiped
   */
  thaw(hostTimeMs: number, credential: Buffer | undefined): void;
  readonly workload: Pick<Workload, 'start'>;
  readonly output: OutputRing;
  readonly channelAcks: ChannelAcks;
  readonly standingCalls: StandingCalls;
  /** Powers the machine off once the answer has left. */
  shutdown(): Promise<void>;
}

/** Largest piece of output in one message; the host takes messages up to 256 KiB. */
const OUTPUT_PIECE = 64 * 1024;

/** One wrapper for all calls: an async handler of grpc-js that rejects would leave the host waiting. */
function unary<Request, Response>(
  handle: (request: Request) => Response | Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>) => {
    const answer = async (): Promise<void> => {
      try {
        callback(null, await handle(call.request));
      } catch (error) {
        callback(statusOf(error));
      }
    };
    void answer();
  };
}

/** The handlers of offshoot.guest.v1. */
export function guestService(parts: GuestServiceParts): GuestServiceServer {
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return {
    hello: unary(() => ({
      agentVersion: AGENT_VERSION,
      bootId,
      kernelRelease: release(),
      mailboxes: parts.registrations(),
    })),
    registerMailbox: (call) => {
      streamRegistrations(call, parts);
    },
    reconfigureNetwork: unary(async (request) => {
      await parts.applyIdentity(parseForkIdentity(request));
      return {};
    }),
    quiesce: unary(async (request) => {
      await parts.quiesce(request);
      return { workloadOutputEnd: BigInt(parts.output.end) };
    }),
    thaw: unary(({ hostTimeMs, credential }) => {
      parts.thaw(hostTimeMs, credential);
      return {};
    }),
    startWorkload: unary(async (request) => ({ pid: await parts.workload.start(request satisfies WorkloadRequest) })),
    streamWorkloadOutput: (call) => {
      streamOutput(call, parts);
    },
    streamAcks: (call) => {
      streamAcks(call, parts);
    },
    confirmAcks: unary(({ nonces }) => {
      parts.channelAcks.confirm(nonces);
      return {};
    }),
    shutdown: unary(() => {
      void parts.shutdown().catch((error: unknown) => {
        log(`shutdown: ${statusOf(error).details}`);
      });
      return {};
    }),
  };
}

/** The whole set after each change; while the host takes nothing, however much changes, only the last one is of interest. */
function streamRegistrations(
  call: ServerWritableStream<RegisterMailboxRequest, RegisterMailboxResponse>,
  parts: Pick<GuestServiceParts, 'registrations' | 'onRegistrations' | 'standingCalls'>,
): void {
  let full = false;
  let missed = false;
  const send = (): void => {
    missed = full;
    if (!full) full = !call.write({ mailboxes: parts.registrations() });
  };
  call.on('drain', () => {
    full = false;
    if (missed) send();
  });
  call.once('cancelled', parts.standingCalls.add(parts.onRegistrations(send)));
  send();
}

function streamOutput(
  call: ServerWritableStream<StreamWorkloadOutputRequest, StreamWorkloadOutputResponse>,
  { output, standingCalls }: Pick<GuestServiceParts, 'output' | 'standingCalls'>,
): void {
  const from = call.request.fromOffset;
  if (from > BigInt(output.end)) {
    const error = InvalidInput.field('from_offset', `is beyond the end of the output, ${String(output.end)}`);
    call.emit('error', statusOf(error));
    return;
  }
  let next = Number(from);
  let full = false;
  const pump = (): void => {
    while (!full && next < output.end) {
      const { offset, data } = output.read(next, OUTPUT_PIECE);
      next = offset + data.length;
      full = !call.write({ offset: BigInt(offset), data });
    }
  };
  call.on('drain', () => {
    full = false;
    pump();
  });
  call.once('cancelled', standingCalls.add(output.onAppend(pump)));
  pump();
}

/** Sends each acknowledgement once; those that end before the host takes them are not sent at all. */
function streamAcks(
  call: ServerWritableStream<StreamAcksRequest, StreamAcksResponse>,
  { channelAcks: acks, standingCalls }: Pick<GuestServiceParts, 'channelAcks' | 'standingCalls'>,
): void {
  const sent = new WeakSet<AckUnderWay>();
  let full = false;
  const pump = (): void => {
    for (const ack of acks.underWay) {
      if (full) return;
      if (sent.has(ack)) continue;
      sent.add(ack);
      full = !call.write({ line: ack.line });
    }
  };
  call.on('drain', () => {
    full = false;
    pump();
  });
  call.once('cancelled', standingCalls.add(acks.onNew(pump)));
  pump();
}
