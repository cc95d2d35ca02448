import type { FileDescriptorSet } from '@bufbuild/protobuf/wkt';
import { Server, ServerCredentials, type ServerOptions } from '@grpc/grpc-js';
import { HostServiceService } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { ImageServiceService } from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import { InstanceServiceService } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { SnapshotServiceService } from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import { InvalidInput, messageOf, Unreachable } from '@offshoot/shared/errors.js';
import { HealthImplementation } from 'grpc-health-check';
import type { Logger } from 'pino';
import type { HostOperations, ImageOperations, InstanceOperations, SnapshotOperations } from '../app/commands.js';
import { CallRunner } from './call-runner.js';
import { hostService } from './host-service.js';
import { imageService } from './image-service.js';
import { instanceService } from './instance-service.js';
import {
  formatApiAddress,
  hostAndPort,
  isLoopback,
  parseApiAddress,
  type ApiAddress,
} from './contract/listen-address.js';
import { MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES } from './contract/request-limits.js';
import { addReflection } from './reflection.js';
import { snapshotService } from './snapshot-service.js';
import { withStrictText } from './strict-text.js';
import { claimSocket, type ClaimedSocket } from './unix-socket.js';

const HEALTH_SERVICES = [
  '',
  'offshoot.v1.HostService',
  'offshoot.v1.ImageService',
  'offshoot.v1.InstanceService',
  'offshoot.v1.SnapshotService',
];

const SERVER_OPTIONS: ServerOptions = {
  'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
  'grpc.max_send_message_length': MAX_RESPONSE_BYTES,
  'grpc.max_concurrent_streams': 1024,
  // A client that vanished without a word (a suspended laptop, a dropped NAT entry) is noticed, its calls cancelled.
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
};

export interface GrpcServerOptions {
  /** `unix:///PATH`, or `tcp://HOST:PORT` with a loopback address; port 0 takes a free one. */
  readonly listen: string;
  readonly instances: InstanceOperations;
  readonly snapshots: SnapshotOperations;
  readonly host: HostOperations;
  readonly images: ImageOperations;
  /** Of the API, for reflection: asked for when a client first does. */
  readonly descriptors: () => Promise<FileDescriptorSet>;
  readonly logger: Logger;
  readonly version: string;
}

export interface GrpcServer {
  /** What a client gives as `--host`. */
  readonly address: string;
  /**
   * Stops within `graceMs`: health turns NOT_SERVING, no new calls are taken, streams end; other calls have half of the
   * time to finish, are then ended and have the rest to undo what they did; whatever is left is cut off.
   */
  close(graceMs: number): Promise<void>;
}

/**
 * Serves offshoot.v1 with reflection and health.
 * @throws InvalidInput for an address that cannot be listened on, Conflict when a daemon already does, Unreachable when
 * the system refuses
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const logger = options.logger.child({ component: 'grpc' });
  const address = parseApiAddress('listen', options.listen);
  const calls = new CallRunner(logger);
  const server = new Server(SERVER_OPTIONS);
  server.addService(withStrictText(InstanceServiceService), instanceService(options.instances, calls));
  server.addService(
    withStrictText(SnapshotServiceService),
    snapshotService(options.snapshots, options.instances, calls),
  );
  server.addService(withStrictText(HostServiceService), hostService(options.host, calls));
  server.addService(withStrictText(ImageServiceService), imageService(options.images, calls));
  addReflection(server, options.descriptors);
  const health = new HealthImplementation(Object.fromEntries(HEALTH_SERVICES.map((name) => [name, 'SERVING'])));
  health.addToServer(server);

  const { bound, socket } = await bind(server, address).catch((error: unknown) => {
    server.forceShutdown();
    throw error;
  });
  logger.info({ address: formatApiAddress(bound), version: options.version }, 'serving');
  return {
    address: formatApiAddress(bound),
    close: async (graceMs) => {
      for (const name of HEALTH_SERVICES) health.setStatus(name, 'NOT_SERVING');
      const closed = new Promise<void>((resolve) => {
        server.tryShutdown(() => {
          resolve();
        });
      });
      calls.endStreams();
      await within(graceMs / 2, calls.idle());
      calls.endAll();
      await within(graceMs / 2, calls.idle());
      // The last answers are on their way; idle clients (health watches) may stay connected for ever.
      await within(Math.min(FLUSH_MS, graceMs), closed);
      server.forceShutdown();
      await socket?.remove();
      logger.info('stopped');
    },
  };
}

/** How long answers already given may take to reach their clients at a stop. */
const FLUSH_MS = 200;

async function bind(server: Server, address: ApiAddress): Promise<{ bound: ApiAddress; socket?: ClaimedSocket }> {
  if (address.kind === 'unix') {
    const socket = await claimSocket(address.path, async (temporary) => {
      await listen(server, `unix://${temporary}`);
    });
    return { bound: address, socket };
  }
  if (!isLoopback(address.host))
    throw InvalidInput.field(
      'listen',
      `must be a loopback address (127.0.0.1, ::1, localhost) or a Unix socket, since plain TCP lets anyone who reaches it in; got ${address.host}`,
    );
  return { bound: { ...address, port: await listen(server, hostAndPort(address)) } };
}

const listen = (server: Server, target: string): Promise<number> =>
  new Promise((resolve, reject) => {
    server.bindAsync(target, ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(port);
      else reject(new Unreachable(`cannot listen: ${messageOf(error)}`, { reason: 'LISTEN_FAILED', cause: error }));
    });
  });

/** Waits for `work`, at most `limitMs`. */
async function within(limitMs: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, limitMs);
  });
  await Promise.race([work, limit]);
  clearTimeout(timer);
}
