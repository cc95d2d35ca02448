import {
  createFileRegistry,
  fromBinary,
  fromJson,
  toBinary,
  toJson,
  type DescMessage,
  type FileRegistry,
  type JsonValue,
} from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { fromJSON, type MessageTypeDefinition } from '@grpc/proto-loader';
import type { ApiCaller, CallOutcome, JsonMessage } from './api-caller.js';

/** What is used of grpc/reflection/v1/reflection.proto. */
const REFLECTION = fromJSON(
  {
    nested: {
      Request: {
        oneofs: { message_request: { oneof: ['file_containing_symbol', 'list_services'] } },
        fields: {
          file_containing_symbol: { type: 'string', id: 4 },
          list_services: { type: 'string', id: 7 },
        },
      },
      Response: {
        fields: {
          file_descriptor_response: { type: 'Files', id: 4 },
          list_services_response: { type: 'Services', id: 6 },
          error_response: { type: 'Failure', id: 7 },
        },
      },
      Files: { fields: { file_descriptor_proto: { rule: 'repeated', type: 'bytes', id: 1 } } },
      Services: { fields: { service: { rule: 'repeated', type: 'Service', id: 1 } } },
      Service: { fields: { name: { type: 'string', id: 1 } } },
      Failure: { fields: { error_code: { type: 'int32', id: 1 }, error_message: { type: 'string', id: 2 } } },
    },
  },
  { keepCase: true },
);

interface ReflectionResponse {
  readonly file_descriptor_response?: { readonly file_descriptor_proto: Buffer[] };
  readonly list_services_response?: { readonly service: { readonly name: string }[] };
  readonly error_response?: { readonly error_message: string };
}

/** Where the types of an error's details are defined. */
const STATUS = 'google.rpc.Status';

/**
 * Calls with the descriptors that the reflection service gives: what grpcurl does, where there is none. Messages are
 * coded by @bufbuild/protobuf, since proto-loader makes no maps out of descriptors.
 */
export class ReflectionCaller implements ApiCaller, Disposable {
  private readonly client: Client;

  constructor(address: string) {
    this.client = new Client(address, credentials.createInsecure());
  }

  async list(): Promise<string[]> {
    const { list_services_response: services } = await this.ask({ list_services: '*' });
    return (services?.service ?? []).map(({ name }) => name).sort();
  }

  async describe(symbol: string): Promise<string[]> {
    const registry = await this.load(symbol);
    const service = registry.getService(symbol);
    if (service !== undefined) return service.methods.map(({ name }) => name);
    return messageOf(registry, symbol).fields.map(({ name }) => name);
  }

  async call(method: string, request: JsonMessage): Promise<CallOutcome> {
    const [serviceName = '', name = ''] = method.split('/');
    const registry = await this.load(serviceName);
    const definition = registry.getService(serviceName)?.methods.find((each) => each.name === name);
    if (definition === undefined) throw new Error(`${serviceName} has no method ${name}`);
    const { input, output } = definition;
    const message = fromJson(input, request as JsonValue, { registry });
    try {
      const response = await new Promise<JsonMessage>((resolve, reject) => {
        this.client.makeUnaryRequest(
          `/${method}`,
          () => Buffer.from(toBinary(input, message)),
          (bytes) => toJson(output, fromBinary(output, bytes), { registry }) as JsonMessage,
          message,
          (error, answer) => {
            if (error === null && answer !== undefined) resolve(answer);
            else reject(error ?? new Error('neither an answer nor an error'));
          },
        );
      });
      return { ok: true, response };
    } catch (error) {
      const { code, details, metadata } = error as ServiceError;
      const [bytes] = metadata.get('grpc-status-details-bin');
      return { ok: false, code, message: details, details: await this.detailsOf(bytes) };
    }
  }

  [Symbol.dispose](): void {
    this.client.close();
  }

  private async detailsOf(bytes: string | Buffer | undefined): Promise<JsonMessage[]> {
    if (!Buffer.isBuffer(bytes)) return [];
    const registry = await this.load(STATUS);
    const schema = messageOf(registry, STATUS);
    return (toJson(schema, fromBinary(schema, bytes), { registry }) as { details: JsonMessage[] }).details;
  }

  /** Everything in the file that has the symbol, which the service sends first, and in the files that one imports. */
  private async load(symbol: string): Promise<FileRegistry> {
    const { file_descriptor_response: files } = await this.ask({ file_containing_symbol: symbol });
    const loaded = (files?.file_descriptor_proto ?? []).map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
    const [asked] = loaded;
    if (asked === undefined) throw new Error(`reflection has no file with ${symbol}`);
    return createFileRegistry(asked, (name) => loaded.find((file) => file.name === name));
  }

  private ask(request: object): Promise<ReflectionResponse> {
    return new Promise((resolve, reject) => {
      const call = this.client.makeBidiStreamRequest<object, object>(
        '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
        reflectionMessage('Request').serialize,
        reflectionMessage('Response').deserialize,
      );
      call.once('error', reject);
      call.once('data', (response: ReflectionResponse) => {
        call.end();
        if (response.error_response === undefined) resolve(response);
        else reject(new Error(response.error_response.error_message));
      });
      call.write(request);
    });
  }
}

const reflectionMessage = (name: string): MessageTypeDefinition<object, object> =>
  REFLECTION[name] as MessageTypeDefinition<object, object>;

function messageOf(registry: FileRegistry, name: string): DescMessage {
  const message = registry.getMessage(name);
  if (message === undefined) throw new Error(`reflection knows no ${name}`);
  return message;
}
