import { fileURLToPath } from 'node:url';
import { createFileRegistry, fromBinary, toJson, type FileRegistry } from '@bufbuild/protobuf';

/** proto/ of the checkout: as far from src/cli as from dist/cli. */
const PROTO_DIRECTORY = fileURLToPath(new URL('../../../proto/', import.meta.url));

/** Loaded only where JSON is asked for: reading the .proto files costs a start more than everything else together. */
async function loadRegistry(): Promise<FileRegistry> {
  const { loadApiDescriptors } = await import('../grpc/contract/descriptors.js');
  return createFileRegistry(loadApiDescriptors(PROTO_DIRECTORY));
}

/** What a generated message type offers. */
interface Encodes<T> {
  encode(message: T): { finish(): Uint8Array };
}

/**
 * A message in protobuf's JSON mapping: camelCase keys, 64-bit numbers as strings, durations as "0.012s", enumerations by
 * name, fields at their default too. The generated code does not know that mapping, so the message goes through its bytes.
 * @param name of the message in package offshoot.v1
 */
export async function protoJson<T>(name: string, type: Encodes<T>, message: T): Promise<unknown> {
  const registry = await loadRegistry();
  const descriptor = registry.getMessage(`offshoot.v1.${name}`);
  if (descriptor === undefined) throw new TypeError(`no message offshoot.v1.${name}`);
  return toJson(descriptor, fromBinary(descriptor, type.encode(message).finish()), {
    alwaysEmitImplicit: true,
    registry,
  });
}
