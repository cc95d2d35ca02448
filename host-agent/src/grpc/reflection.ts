import type { FileDescriptorSet } from '@bufbuild/protobuf/wkt';
import { status, type MethodDefinition, type Server, type ServerDuplexStream } from '@grpc/grpc-js';
import { messageOf } from '@offshoot/shared/errors.js';
import type { ReflectionMethod } from './reflection-methods.js';

/** The method, in both versions that clients speak: github.com/grpc/grpc/blob/master/doc/server-reflection.md. */
const PATHS = ['v1', 'v1alpha'].map((version) => `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`);

type Call = ServerDuplexStream<unknown, unknown>;

/**
 * Serves reflection. People with grpcurl ask for it, and hardly anybody else, so what it is answered from is loaded when
 * somebody first does: packages and descriptors take longer than all the rest of a daemon's start.
 * @param descriptors of the API; where they fail, so does the call, and the next one tries again
 */
export function addReflection(server: Server, descriptors: () => Promise<FileDescriptorSet>): void {
  let methods: ReadonlyMap<string, ReflectionMethod> | undefined;
  const method = (path: string): ReflectionMethod => {
    const found = methods?.get(path);
    if (found === undefined) throw new TypeError(`@grpc/reflection does not serve ${path}`);
    return found;
  };
  for (const path of PATHS) {
    // Messages are coded when `handle` reads or writes one, and by then all is loaded.
    const definition: MethodDefinition<unknown, unknown> = {
      path,
      requestStream: true,
      responseStream: true,
      requestSerialize: (message) => method(path).definition.requestSerialize(message),
      requestDeserialize: (bytes) => method(path).definition.requestDeserialize(bytes),
      responseSerialize: (message) => method(path).definition.responseSerialize(message),
      responseDeserialize: (bytes) => method(path).definition.responseDeserialize(bytes),
    };
    const answer = async (call: Call): Promise<void> => {
      try {
        const { reflectionMethods } = await import('./reflection-methods.js');
        methods ??= reflectionMethods(await descriptors());
        method(path).handle(call);
      } catch (error) {
        call.emit('error', { code: status.INTERNAL, details: `reflection: ${messageOf(error)}` });
      }
    };
    server.addService({ info: definition }, { info: (call: Call) => void answer(call) });
  }
}
