import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import { Aborted, Corrupt, Unreachable, messageOf } from '@offshoot/shared/errors.js';
import { GuestMessageReader, encodeMessage } from './guest-message-reader.js';
import { errorOfGuestStatus } from './guest-status.js';

/** A method of a generated service definition. */
export interface RpcMethod<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (value: Request) => Buffer;
  readonly responseDeserialize: (value: Buffer) => Response;
}

/**
 * gRPC calls over one session's stream, spoken directly on node:http2. grpc-js takes no ready-made connection on the
 * client's side; leading it in through a private socket took 2.0-2.8 ms of CPU for a session and its first call where
 * this took 0.7-0.9 (200 sessions, twice, client and server in one process), and leaves sockets to clean up. Retries,
 * balancing and name resolution, what grpc-js would add, have no use on a wire to one guest.
 */
export class GuestRpc implements Disposable {
  private readonly session: ClientHttp2Session;
  /** Settles when the session is over. Never rejects. */
  readonly closed: Promise<void>;
  private failure: unknown;

  constructor(stream: Duplex) {
    this.session = connect('http://guest', {
      createConnection: () => stream,
      // Limits against a hostile peer; the requests we send ourselves are bounded by the caller (1 MiB of files).
      maxSessionMemory: 8,
      maxHeaderListPairs: 32,
      maxReservedRemoteStreams: 0,
      maxSendHeaderBlockLength: 8192,
      settings: { enablePush: false, maxHeaderListSize: 8192 },
    });
    this.session.on('error', (error) => {
      this.failure ??= error;
    });
    this.closed = new Promise((resolve) => {
      this.session.once('close', resolve);
      this.session.once('goaway', () => {
        this.session.close();
      });
    });
  }

  [Symbol.dispose](): void {
    this.session.destroy();
  }

  /** One request, one response. @throws what the guest refuses with, Corrupt, Unreachable, Aborted when the signal ends first */
  async unary<Request, Response>(
    method: RpcMethod<Request, Response>,
    request: Request,
    signal: AbortSignal,
  ): Promise<Response> {
    const responses: Response[] = [];
    await this.stream(method, request, signal, (response) => {
      responses.push(response);
    });
    const [response] = responses;
    if (response === undefined || responses.length > 1)
      throw new Corrupt(`guest: ${method.path}: ${String(responses.length)} responses to one request`, {
        reason: 'GUEST_MESSAGE_CORRUPT',
      });
    return response;
  }

  /** One request, any number of responses; resolves when the guest ends the call. What `onMessage` throws ends it too. */
  stream<Request, Response>(
    method: RpcMethod<Request, Response>,
    request: Request,
    signal: AbortSignal,
    onMessage: (response: Response) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.session.destroyed || this.session.closed) {
        reject(this.cut(method.path));
        return;
      }
      if (signal.aborted) {
        reject(aborted(method.path, signal));
        return;
      }
      const call = this.session.request({
        ':method': 'POST',
        ':path': method.path,
        'content-type': 'application/grpc+proto',
        te: 'trailers',
      });
      let problem: unknown;
      const giveUp = (error: unknown): void => {
        problem ??= error;
        call.close(constants.NGHTTP2_CANCEL);
      };
      const onAbort = (): void => {
        giveUp(aborted(method.path, signal));
      };
      signal.addEventListener('abort', onAbort, { once: true });
      const status = readStatus(call);
      const reader = new GuestMessageReader();
      call.on('data', (chunk: Buffer) => {
        if (problem !== undefined) return;
        try {
          for (const message of reader.push(chunk)) onMessage(method.responseDeserialize(message));
        } catch (error) {
          giveUp(error);
        }
      });
      call.on('error', (error) => {
        problem ??= new Unreachable(`guest: ${method.path}: ${messageOf(error)}`, {
          reason: 'GUEST_CALL_CUT',
          cause: error,
        });
      });
      call.once('close', () => {
        signal.removeEventListener('abort', onAbort);
        const error =
          problem ?? (status.seen ? errorOfGuestStatus(method.path, ...status.value) : this.cut(method.path));
        if (error === undefined) resolve();
        else reject(error instanceof Error ? error : new Error(messageOf(error)));
      });
      call.end(encodeMessage(method.requestSerialize(request)));
    });
  }

  private cut(path: string): Unreachable {
    return new Unreachable(`guest: ${path}: the session is over`, {
      reason: 'GUEST_CALL_CUT',
      ...(this.failure === undefined ? {} : { cause: this.failure }),
    });
  }
}

const aborted = (path: string, signal: AbortSignal): Aborted =>
  new Aborted(`guest: ${path}: given up before the answer`, { reason: 'GUEST_CALL_ABANDONED', cause: signal.reason });

/** The status stands in the trailers, or in the headers of a response without a body. */
function readStatus(call: ClientHttp2Stream): { seen: boolean; value: [unknown, unknown] } {
  const status: { seen: boolean; value: [unknown, unknown] } = { seen: false, value: [undefined, undefined] };
  const take = (headers: Readonly<Record<string, unknown>>): void => {
    if (headers['grpc-status'] === undefined) return;
    status.seen = true;
    status.value = [headers['grpc-status'], headers['grpc-message']];
  };
  call.on('response', take);
  call.on('trailers', take);
  return status;
}
