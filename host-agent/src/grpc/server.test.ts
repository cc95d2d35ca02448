import { once } from 'node:events';
import { mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { create, createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { credentials, loadPackageDefinition, status, type GrpcObject, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ImageServiceClient, type ImportImageResponse } from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import { protoPath as healthProto } from 'grpc-health-check';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startGrpcServer } from './server.js';
import { FakeHost } from './testing/fake-host.js';
import { FakeSnapshots } from './testing/fake-snapshots.js';
import { apiDescriptors, ServedHost, settled } from './testing/serve.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-serve-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function start(listen: string) {
  const fake = new FakeHost();
  return startGrpcServer({
    listen,
    instances: fake,
    snapshots: new FakeSnapshots(),
    host: fake.host,
    images: fake.images,
    descriptors: apiDescriptors,
    logger: pino({ level: 'silent' }),
    version: '0',
  });
}

describe('listening', () => {
  it('makes a socket for owner and group only, and removes it at the end', async () => {
    const path = join(folder, 'made', 'api.sock');
    const server = await start(`unix://${path}`);
    expect((await stat(path)).mode & 0o777).toBe(0o660);
    expect(server.address).toBe(`unix://${path}`);
    await server.close(100);
    await expect(stat(path)).rejects.toThrow('ENOENT');
  });

  it('replaces the socket of a daemon that is dead', async () => {
    const path = join(folder, 'api.sock');
    // A listening socket whose process went leaves its file: a rename keeps it from being removed at the close.
    const dead = createServer().listen(`${path}.dead`);
    await once(dead, 'listening');
    await rename(`${path}.dead`, path);
    await new Promise((resolve) => dead.close(resolve));
    expect((await stat(path)).isSocket()).toBe(true);
    const server = await start(`unix://${path}`);
    await server.close(100);
  });

  it('refuses the socket of a daemon that is alive, which goes on', async () => {
    const path = join(folder, 'api.sock');
    const first = await start(`unix://${path}`);
    await expect(start(`unix://${path}`)).rejects.toMatchObject({ kind: 'Conflict', reason: 'ADDRESS_IN_USE' });
    expect((await stat(path)).isSocket()).toBe(true);
    await first.close(100);
  });

  it('refuses a path where something else is, and leaves it', async () => {
    const path = join(folder, 'notes.txt');
    await writeFile(path, 'mine');
    await expect(start(`unix://${path}`)).rejects.toMatchObject({ kind: 'InvalidInput' });
    expect((await stat(path)).size).toBe(4);
  });

  it.each([
    'tcp://0.0.0.0:0',
    'tcp://192.0.2.1:1',
    'tcp://example.org:1',
    'tcp://127.0.0.1',
    'http://x',
    'unix://a',
    '',
  ])('refuses %j', async (listen) => {
    await expect(start(listen)).rejects.toMatchObject({ kind: 'InvalidInput' });
  });

  it('refuses a path that is too long for a socket', async () => {
    await expect(start(`unix://${folder}/${'d'.repeat(100)}/api.sock`)).rejects.toMatchObject({ kind: 'InvalidInput' });
    const filler = 'd'.repeat(98 - Buffer.byteLength(folder));
    await expect(start(`unix://${folder}/${filler}/api.sock`)).rejects.toMatchObject({ kind: 'InvalidInput' });
  });

  it.each(['tcp://127.0.0.1:0', 'tcp://localhost:0'])('tells the port it took for %s', async (listen) => {
    const server = await start(listen);
    expect(server.address).toMatch(/^tcp:\/\/[a-z0-9.]+:[1-9]\d+$/);
    await server.close(100);
  });
});

/** A client that knows nothing but the protocol's own .proto files. */
interface GenericStream {
  write(message: object): void;
  end(): void;
  on(event: 'data', listener: (message: Record<string, unknown>) => void): this;
  on(event: 'error', listener: (error: ServiceError) => void): this;
  on(event: 'end', listener: () => void): this;
}
type GenericClient = Record<string, (...args: unknown[]) => GenericStream> & { close(): void };

function genericClient(address: string, proto: string, path: readonly string[]): GenericClient {
  let at: unknown = loadPackageDefinition(
    loadSync(proto, { keepCase: true, defaults: true, oneofs: true, enums: String }),
  );
  for (const name of path) at = (at as GrpcObject)[name];
  return new (at as new (...args: unknown[]) => GenericClient)(address, credentials.createInsecure());
}

async function reflect(address: string, request: object, version = 'v1'): Promise<Record<string, unknown>> {
  const packageRoot = dirname(createRequire(import.meta.url).resolve('@grpc/reflection/package.json'));
  const proto = join(packageRoot, `build/proto/grpc/reflection/${version}/reflection.proto`);
  const client = genericClient(address, proto, ['grpc', 'reflection', version, 'ServerReflection']);
  try {
    return await new Promise((resolve, reject) => {
      const call = client.ServerReflectionInfo!();
      call.on('data', resolve).on('error', reject);
      call.write(request);
      call.end();
    });
  } finally {
    client.close();
  }
}

describe('reflection', () => {
  it.each(['v1', 'v1alpha'])('lists the services in %s', async (version) => {
    await using served = await ServedHost.start();
    const { list_services_response: list } = await reflect(served.server.address, { list_services: '*' }, version);
    expect((list as { service: { name: string }[] }).service.map(({ name }) => name).sort()).toEqual([
      'grpc.health.v1.Health',
      'offshoot.v1.HostService',
      'offshoot.v1.ImageService',
      'offshoot.v1.InstanceService',
      'offshoot.v1.SnapshotService',
    ]);
  });

  it('loads nothing before it is asked, and loads again after that failed', async () => {
    const descriptors = vi.fn(apiDescriptors).mockRejectedValueOnce(new Error('no such file'));
    await using served = await ServedHost.start(new FakeHost(), descriptors);
    expect(descriptors).not.toHaveBeenCalled();
    const list = () => reflect(served.server.address, { list_services: '*' });
    await expect(list()).rejects.toMatchObject({ code: status.INTERNAL, details: 'reflection: no such file' });
    expect(await list()).toHaveProperty('list_services_response');
    expect(await list()).toHaveProperty('list_services_response');
    expect(descriptors).toHaveBeenCalledTimes(2);
  });

  it('serves descriptors that a strict reader takes, with maps, optional fields and JSON names as in the source', async () => {
    await using served = await ServedHost.start();
    const answer = await reflect(served.server.address, { file_containing_symbol: 'offshoot.v1.InstanceService' });
    const { file_descriptor_proto: files } = answer.file_descriptor_response as { file_descriptor_proto: Buffer[] };
    const parsed = files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
    const byName = new Map(parsed.map((file) => [file.name, file]));
    const main = parsed.find((file) => file.package === 'offshoot.v1')!;
    expect(main.dependency.every((name) => byName.has(name))).toBe(true);
    const ordered = [...parsed.filter((file) => file !== main), main];
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: ordered }));
    const delivery = registry.getMessage('offshoot.v1.MailboxDelivery')!;
    expect(delivery.field.waitForAck).toMatchObject({
      fieldKind: 'scalar',
      oneof: undefined,
      jsonName: 'waitForAck',
    });
    expect(delivery.oneofs.map(({ name }) => name)).toEqual(['payload']);
    const instance = registry.getMessage('offshoot.v1.Instance')!;
    expect(instance.field.labels).toMatchObject({ fieldKind: 'map' });
    expect(instance.proto.nestedType.map(({ name }) => name)).toEqual(['LabelsEntry']);
    expect(registry.getService('offshoot.v1.InstanceService')?.methods.map(({ name }) => name)).toContain(
      'ForkInstance',
    );
  });
});

describe('health', () => {
  it('is SERVING for the daemon and each service, and turns NOT_SERVING when it stops', async () => {
    await using served = await ServedHost.start();
    const client = genericClient(served.server.address, healthProto, ['grpc', 'health', 'v1', 'Health']);
    for (const service of ['', 'offshoot.v1.InstanceService', 'offshoot.v1.HostService', 'offshoot.v1.ImageService']) {
      const { response } = await settled<{ status: string }>((callback) => client.Check!({ service }, callback));
      expect(response).toEqual({ status: 'SERVING' });
    }
    const { error } = await settled<unknown>((callback) => client.Check!({ service: 'none' }, callback));
    expect(error?.code).toBe(status.NOT_FOUND);

    const seen: unknown[] = [];
    const watch = client.Watch!({ service: '' });
    watch.on('error', () => undefined);
    await new Promise<void>((resolve) => {
      watch.on('data', (message) => {
        seen.push(message.status);
        resolve();
      });
    });
    await served.server.close(200);
    expect(seen).toEqual(['SERVING', 'NOT_SERVING']);
    client.close();
  });
});

describe('ImportImage', () => {
  const importImage = async (address: string, source: string): Promise<ImportImageResponse[]> => {
    const client = new ImageServiceClient(address, credentials.createInsecure());
    try {
      const messages: ImportImageResponse[] = [];
      for await (const message of client.importImage({ source, requestId: '', name: '' }))
        messages.push(message as ImportImageResponse);
      return messages;
    } finally {
      client.close();
    }
  };

  it('streams its steps and ends with the image', async () => {
    await using served = await ServedHost.start();
    const messages = await importImage(served.server.address, 'default');
    expect(messages.map(({ event }) => event?.$case)).toEqual(['progress', 'progress', 'image']);
    expect(messages.at(-1)?.event).toMatchObject({ image: { name: 'default', diskBytes: 536_870_912n } });
  });

  it('refuses an unknown source and a missing one', async () => {
    await using served = await ServedHost.start();
    await expect(importImage(served.server.address, 'nope')).rejects.toMatchObject({ code: status.NOT_FOUND });
    await expect(importImage(served.server.address, '')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });
});
