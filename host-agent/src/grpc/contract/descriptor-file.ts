import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema, type FileDescriptorSet } from '@bufbuild/protobuf/wkt';

/** The compiled API as a serialised `google.protobuf.FileDescriptorSet`, which protoc and grpcurl (`-protoset`) read, too. */
const FILE = 'api-descriptors.binpb';

/** @throws what the file system says */
export async function readDescriptors(directory: string): Promise<FileDescriptorSet> {
  return fromBinary(FileDescriptorSetSchema, await readFile(join(directory, FILE)));
}

/** @throws what the file system says */
export async function writeDescriptors(directory: string, descriptors: FileDescriptorSet): Promise<void> {
  await writeFile(join(directory, FILE), toBinary(FileDescriptorSetSchema, descriptors));
}
