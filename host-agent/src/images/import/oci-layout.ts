import * as z from 'zod';
import { readPart } from './blob.js';
import { parseJson } from './image-config.js';
import { refused } from './image-refused.js';
import { MAX_JSON, resolveIndex, sourceOfManifest } from './oci-manifest.js';
import type { FileSet } from './file-set.js';
import type { FindBlob, ResolvedManifest } from './oci-manifest.js';
import type { RootSource } from './root-source.js';

const marker = z.object({ imageLayoutVersion: z.literal('1.0.0') });

/** Path of a blob in an OCI image layout. */
const blobsOf =
  (files: FileSet): FindBlob =>
  (digest) =>
    files.find(`blobs/${digest.replace(':', '/')}`);

/** @param name of the image in it; undefined: the only one */
export async function resolveOciLayout(files: FileSet, name: string | undefined): Promise<ResolvedManifest> {
  parseJson(marker, await read(files, 'oci-layout'), 'oci-layout');
  return resolveIndex(await read(files, 'index.json'), name, blobsOf(files));
}

export async function openOciLayout(
  files: FileSet,
  name: string | undefined,
  signal: AbortSignal,
): Promise<RootSource> {
  const { content } = await resolveOciLayout(files, name);
  return sourceOfManifest(content, blobsOf(files), signal);
}

async function read(files: FileSet, name: string): Promise<Buffer> {
  const part = await files.find(name);
  if (part === undefined) throw refused('IMAGE_LAYOUT_INVALID', `its ${name} is missing`);
  return readPart(part, MAX_JSON, name);
}
