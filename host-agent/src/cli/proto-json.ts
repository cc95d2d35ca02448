import { fileURLToPath } from 'node:url';
import { createFileRegistry, fromBinary, toJson, type FileRegistry } from '@bufbuild/protobuf';

/** Where the build lays the descriptors: as far from src/cli as from dist/cli. */
const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));

/** Loaded only where JSON is asked for: that takes a good part of a command's time. */
async function loadRegistry(): Promise<FileRegistry> {
  const { readDescriptors } = await import('../grpc/contract/descriptor-file.js');
  return createFileRegistry(await readDescriptors(DIST));
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
