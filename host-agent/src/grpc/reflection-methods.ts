import { toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, type FileDescriptorSet } from '@bufbuild/protobuf/wkt';
import type {
  MethodDefinition,
  Server,
  ServerDuplexStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';

/** How a method codes its messages, and what answers a call. */
export interface ReflectionMethod {
  readonly definition: MethodDefinition<unknown, unknown>;
  readonly handle: (call: ServerDuplexStream<unknown, unknown>) => void;
}

/** What @grpc/reflection would add to a server, by the path of its methods. */
export function reflectionMethods(descriptors: FileDescriptorSet): ReadonlyMap<string, ReflectionMethod> {
  const methods = new Map<string, ReflectionMethod>();
  const server: Pick<Server, 'addService'> = {
    addService: (definitions: ServiceDefinition, implementation: UntypedServiceImplementation) => {
      for (const [name, definition] of Object.entries(definitions)) {
        const handle = implementation[name] ?? implementation[definition.originalName ?? name];
        methods.set(definition.path, { definition, handle: handle as ReflectionMethod['handle'] });
      }
    },
  };
  new ReflectionService(reflectionPackage(descriptors)).addToServer(server);
  return methods;
}

/**
 * The descriptors as a package for @grpc/reflection, which looks at nothing but the serialised files of each entry; the form of
 * an enumeration is the least an entry can have.
 */
function reflectionPackage(descriptors: FileDescriptorSet): PackageDefinition {
  return {
    api: {
      format: 'Protocol Buffer 3 EnumDescriptorProto',
      type: {},
      fileDescriptorProtos: descriptors.file.map((file) => Buffer.from(toBinary(FileDescriptorProtoSchema, file))),
    },
  };
}
