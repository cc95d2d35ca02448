import * as z from 'zod';
import { assertDigest, digestOf, readPart } from './blob.js';
import { parseConfig, parseJson } from './image-config.js';
import { refused } from './image-refused.js';
import { layerOf } from './layer-entries.js';
import { MAX_JSON } from './oci-manifest.js';
import type { FilePart } from './blob.js';
import type { FileSet } from './file-set.js';
import type { RootSource } from './root-source.js';

/** `manifest.json` of `docker save` (moby, image/spec/v1.2). */
const schema = z
  .array(
    z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()).max(1000) }),
  )
  .min(1);

/** Configurations are called by their digest: `HEX.json`, or `blobs/sha256/HEX` since Docker 25. */
const CONFIG_NAME = /^(?:blobs\/sha256\/)?([0-9a-f]{64})(?:\.json)?$/;

/** @param name `REPOSITORY:TAG` of the image in it; undefined: the only one */
export async function openDockerArchive(
  files: FileSet,
  name: string | undefined,
  signal: AbortSignal,
): Promise<RootSource> {
  const images = parseJson(
    schema,
    await readPart(await partOf(files, 'manifest.json'), MAX_JSON, 'manifest.json', signal),
    'manifest.json',
  );
  const named = images.filter(({ RepoTags }) => name === undefined || RepoTags?.includes(name) === true);
  const [image, second] = named;
  if (image === undefined || second !== undefined)
    throw refused(
      'IMAGE_LAYOUT_INVALID',
      `it has ${second === undefined ? 'no such image' : 'several images'}, name one as PATH:NAME: ${images.flatMap(({ RepoTags, Config }) => RepoTags ?? [Config]).join(', ')}`,
    );
  const json = await readPart(await partOf(files, image.Config), MAX_JSON, 'the configuration', signal);
  const hex = CONFIG_NAME.exec(image.Config)?.[1];
  if (hex !== undefined) assertDigest(digestOf(json), `sha256:${hex}`, 'the configuration');
  const { config, diffIds } = parseConfig(json);
  if (diffIds.length !== image.Layers.length)
    throw refused(
      'IMAGE_LAYOUT_INVALID',
      `its manifest has ${String(image.Layers.length)} layers, its configuration ${String(diffIds.length)}`,
    );
  const layers = [];
  for (const [number, path] of image.Layers.entries())
    layers.push(layerOf(await partOf(files, path), { whiteouts: true, diffId: diffIds[number] ?? '' }));
  return { config, layers };
}

async function partOf(files: FileSet, path: string): Promise<FilePart> {
  const part = await files.find(path);
  if (part === undefined) throw refused('IMAGE_LAYOUT_INVALID', `it has no ${JSON.stringify(path)}`);
  return part;
}
