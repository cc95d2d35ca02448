import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FileDescriptorSet } from '@bufbuild/protobuf/wkt';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import { InstanceServiceClient } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { pino } from 'pino';
import { compileDescriptors } from '../contract/compile-descriptors.js';
import { startGrpcServer, type GrpcServer } from '../server.js';
import { FakeHost } from './fake-host.js';
import { FakeSnapshots } from './fake-snapshots.js';

const protoDirectory = fileURLToPath(new URL('../../../../proto/', import.meta.url));

/** Compiled anew: a test of the sources needs no build. */
export const apiDescriptors = (): Promise<FileDescriptorSet> => Promise.resolve(compileDescriptors(protoDirectory));

/** A real server on a Unix socket of its own, in front of a {@link FakeHost}, with what it logged. */
export class ServedHost implements AsyncDisposable {
  private constructor(
    readonly fake: FakeHost,
    readonly server: GrpcServer,
    readonly folder: string,
    readonly log: Record<string, unknown>[],
    readonly client: InstanceServiceClient,
  ) {}

  static async start(fake = new FakeHost(), descriptors = apiDescriptors): Promise<ServedHost> {
    const folder = await mkdtemp(join(tmpdir(), 'offshoot-grpc-'));
    const log: Record<string, unknown>[] = [];
    const write = (line: string): void => {
      log.push(JSON.parse(line) as Record<string, unknown>);
    };
    const server = await startGrpcServer({
      listen: `unix://${folder}/api.sock`,
      instances: fake,
      snapshots: new FakeSnapshots(),
      host: fake.host,
      images: fake.images,
      descriptors,
      logger: pino({ level: 'debug' }, { write }),
      version: '9.9.9',
    });
    return new ServedHost(
      fake,
      server,
      folder,
      log,
      new InstanceServiceClient(server.address, credentials.createInsecure()),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.server.close(1000);
    await rm(this.folder, { recursive: true, force: true });
  }
}

type Callback<Response> = (error: ServiceError | null, response: Response) => void;

/** A unary call as a promise that always resolves: with the response or the status. */
export const settled = <Response>(
  start: (callback: Callback<Response>) => unknown,
): Promise<{ response?: Response; error?: ServiceError }> =>
  new Promise((resolve) => {
    start((error, response) => {
      resolve(error === null ? { response } : { error });
    });
  });
