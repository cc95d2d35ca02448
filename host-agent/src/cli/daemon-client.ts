import { once } from 'node:events';
import {
  credentials,
  Metadata,
  type CallOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ServiceError,
} from '@grpc/grpc-js';
import { HostServiceClient } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { ImageServiceClient } from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import { InstanceServiceClient } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { SnapshotServiceClient } from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import { grpcTarget, parseApiAddress } from '../grpc/contract/listen-address.js';
import { MAX_RESPONSE_BYTES } from '../grpc/contract/request-limits.js';

/** A method of a generated client, bound to it. */
type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

type StreamMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
) => ClientReadableStream<Response>;

/** Connections to one daemon. Calls reject with a `ServiceError`; ending the signal cancels them. */
export class DaemonClient implements Disposable {
  readonly instances: InstanceServiceClient;
  readonly host: HostServiceClient;
  readonly images: ImageServiceClient;
  readonly snapshots: SnapshotServiceClient;

  /**
   * @param address as for `--host`
   * @throws InvalidInput for a malformed one
   */
  constructor(
    readonly address: string,
    private readonly signal: AbortSignal,
  ) {
    const target = grpcTarget(parseApiAddress('--host', address));
    const plain = credentials.createInsecure();
    const options = {
      'grpc.max_receive_message_length': MAX_RESPONSE_BYTES,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.enable_http_proxy': 0, // a proxy is for the world outside, never for the daemon next door
    };
    this.instances = new InstanceServiceClient(target, plain, options);
    this.host = new HostServiceClient(target, plain, options);
    this.images = new ImageServiceClient(target, plain, options);
    this.snapshots = new SnapshotServiceClient(target, plain, options);
  }

  /** @param deadlineMs from now; none when undefined */
  async unary<Request, Response>(
    method: UnaryMethod<Request, Response>,
    request: Request,
    deadlineMs?: number,
  ): Promise<Response> {
    let cancel: (() => void) | undefined;
    try {
      return await new Promise<Response>((resolve, reject) => {
        const call = method(request, new Metadata(), deadlineOption(deadlineMs), (error, response) => {
          if (error === null) resolve(response);
          else reject(error);
        });
        cancel = () => {
          call.cancel();
        };
        if (this.signal.aborted) call.cancel();
        else this.signal.addEventListener('abort', cancel);
      });
    } finally {
      if (cancel !== undefined) this.signal.removeEventListener('abort', cancel);
    }
  }

  /** The messages of a server stream, read no faster than they are taken. */
  async *stream<Request, Response>(
    method: StreamMethod<Request, Response>,
    request: Request,
  ): AsyncGenerator<Response, void, undefined> {
    const call = method(request, new Metadata(), {});
    const cancel = (): void => {
      call.cancel();
    };
    if (this.signal.aborted) cancel();
    else this.signal.addEventListener('abort', cancel);
    try {
      for await (const message of call) yield message as Response;
    } finally {
      this.signal.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  [Symbol.dispose](): void {
    for (const client of [this.instances, this.host, this.images, this.snapshots]) client.close();
  }
}

const deadlineOption = (deadlineMs: number | undefined): Partial<CallOptions> =>
  deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };

/** Writes all of `data`, waiting where the reader is slow. */
export async function writeAll(stream: NodeJS.WriteStream, data: Uint8Array | string): Promise<void> {
  if (!stream.write(data)) await once(stream, 'drain');
}
