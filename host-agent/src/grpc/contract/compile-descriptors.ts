import { create, fromBinary, isFieldSet } from '@bufbuild/protobuf';
import {
  file_google_protobuf_any,
  file_google_protobuf_duration,
  file_google_protobuf_timestamp,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  type DescriptorProto,
  type FileDescriptorProto,
  type FileDescriptorSet,
} from '@bufbuild/protobuf/wkt';
import { fromJSON, loadSync } from '@grpc/proto-loader';
import { protoPath as healthProtoPath } from 'grpc-health-check';
import { STATUS_DESCRIPTORS } from './status-details.js';

/** What the daemon serves; files that these import come with them. */
const API_FILES = [
  'offshoot/v1/host_service.proto',
  'offshoot/v1/image_service.proto',
  'offshoot/v1/instance_service.proto',
  'offshoot/v1/snapshot_service.proto',
  healthProtoPath,
];

const WELL_KNOWN_PACKAGE = 'google.protobuf';
const WELL_KNOWN_FILES = [
  file_google_protobuf_any.proto,
  file_google_protobuf_duration.proto,
  file_google_protobuf_timestamp.proto,
];

/**
 * The API's descriptors, compiled from the .proto files, which takes a fifth of a second: `make build` does it once for all.
 *
 * proto-loader's own are not valid descriptors (grpc-node issue 2595): one file a package, without imports, with type names
 * relative to their scope, no JSON names, map entries under the wrong name, and `optional` turned into a oneof. grpcurl and
 * @bufbuild/protobuf refuse them, so they are put right here.
 * @param protoDirectory the folder that holds `offshoot/v1/*.proto`
 */
export function compileDescriptors(protoDirectory: string): FileDescriptorSet {
  const loaded = {
    ...loadSync(API_FILES, { includeDirs: [protoDirectory], keepCase: true }),
    ...fromJSON(STATUS_DESCRIPTORS, { keepCase: true }), // so that grpcurl can show an error's details
  };
  const files = new Map<string, FileDescriptorProto>();
  for (const { fileDescriptorProtos } of Object.values(loaded) as { fileDescriptorProtos?: Buffer[] }[])
    for (const bytes of fileDescriptorProtos ?? []) {
      const file = fromBinary(FileDescriptorProtoSchema, bytes);
      if (file.package !== WELL_KNOWN_PACKAGE) files.set(file.name, file);
    }
  const all = [...WELL_KNOWN_FILES, ...files.values()];
  const fileOf = new Map<string, string>();
  for (const file of all)
    for (const type of [...file.messageType, ...file.enumType])
      declare(`${file.package}.${type.name}`, type, file.name, fileOf);
  for (const file of files.values()) repairFile(file, fileOf);
  return create(FileDescriptorSetSchema, { file: all });
}

/** Enters a message or enumeration, and what is nested in it, under its full name. */
function declare(fullName: string, type: object, file: string, fileOf: Map<string, string>): void {
  fileOf.set(fullName, file);
  if (!('nestedType' in type)) return;
  const { nestedType, enumType } = type as DescriptorProto;
  for (const nested of [...nestedType, ...enumType]) declare(`${fullName}.${nested.name}`, nested, file, fileOf);
}

function repairFile(file: FileDescriptorProto, fileOf: ReadonlyMap<string, string>): void {
  const imports = new Set<string>();
  const qualify = (name: string, scope: string): string => {
    const found = resolve(name, scope, fileOf);
    const from = fileOf.get(found);
    if (from !== undefined && from !== file.name) imports.add(from);
    return `.${found}`;
  };
  for (const message of file.messageType) repairMessage(message, `${file.package}.${message.name}`, qualify);
  for (const service of file.service)
    for (const method of service.method) {
      method.inputType = qualify(method.inputType, file.package);
      method.outputType = qualify(method.outputType, file.package);
    }
  file.dependency = [...imports];
}

function repairMessage(
  message: DescriptorProto,
  fullName: string,
  qualify: (name: string, scope: string) => string,
): void {
  for (const field of message.field) {
    field.jsonName = field.name.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    if (field.typeName !== '') field.typeName = qualify(field.typeName, fullName);
    const inOneof = isFieldSet(field, FieldDescriptorProtoSchema.field.oneofIndex);
    if (inOneof && message.oneofDecl[field.oneofIndex]?.name === `_${field.name}`) field.proto3Optional = true;
  }
  for (const nested of message.nestedType) {
    repairMessage(nested, `${fullName}.${nested.name}`, qualify);
    if (nested.options?.mapEntry !== true) continue;
    // protoc calls the entry of `foo_bar` FooBarEntry; protobufjs leaves the suffix out.
    const entry = `.${fullName}.${nested.name}`;
    nested.name += 'Entry';
    for (const field of message.field) if (field.typeName === entry) field.typeName += 'Entry';
  }
}

/** Protobuf's scoping: the innermost scope that has the name. */
function resolve(name: string, scope: string, known: ReadonlyMap<string, string>): string {
  if (name.startsWith('.')) return name.slice(1);
  for (let at = scope; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('.'))))
    if (known.has(`${at}.${name}`)) return `${at}.${name}`;
  return name;
}
