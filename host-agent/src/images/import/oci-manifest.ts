import * as z from 'zod';
import { assertDigest, digestOf, digestOfPart, parseDigest, readPart } from './blob.js';
import { OCI_ARCHITECTURE, parseConfig, parseJson } from './image-config.js';
import { refused } from './image-refused.js';
import { layerOf } from './layer-entries.js';
import type { FilePart } from './blob.js';
import type { RootSource, SourceLayer } from './root-source.js';

/** Manifests and configurations are a few kilobytes; registries take none beyond this (distribution specification). */
export const MAX_JSON = 4 * 2 ** 20;
/** Docker makes none of more than 127 layers. */
const MAX_LAYERS = 1000;
/** An index in an index in an index. */
const MAX_DEPTH = 4;

const INDEX_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
const CONFIG_TYPES = ['application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json'];
/** With which compression is seen in the layer itself. */
const LAYER_TYPE =
  /^application\/vnd\.(oci\.image\.layer(\.nondistributable)?\.v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.(diff|foreign\.diff)\.tar(\.gzip|\.zstd)?)$/;

const descriptor = z.object({
  mediaType: z.string().default(''),
  digest: z.string(),
  size: z.number().int().nonnegative(),
  platform: z.object({ os: z.string(), architecture: z.string() }).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
type Descriptor = z.infer<typeof descriptor>;

const index = z.object({ schemaVersion: z.literal(2), manifests: z.array(descriptor) });
const manifest = z.object({
  schemaVersion: z.literal(2),
  config: descriptor,
  layers: z.array(descriptor).max(MAX_LAYERS),
});
const kind = z.object({ mediaType: z.string().optional(), manifests: z.unknown().optional() });

/** Blobs by digest. */
export type FindBlob = (digest: string) => Promise<FilePart | undefined>;

/** An image's manifest, found and checked. */
export interface ResolvedManifest {
  readonly digest: string;
  readonly content: Buffer;
}

/**
 * The manifest for this machine, from an index of manifests and indexes.
 * @param name of one (`org.opencontainers.image.ref.name`); undefined: there must be one only
 */
export async function resolveIndex(
  content: Buffer,
  name: string | undefined,
  findBlob: FindBlob,
): Promise<ResolvedManifest> {
  const { manifests } = parseJson(index, content, 'the index');
  const named = manifests.filter((one) => name === undefined || nameOf(one) === name);
  const usable = usableOf(named);
  const [chosen, second] = usable;
  if (chosen === undefined) throw nothingUsable(manifests, named, name);
  if (second !== undefined)
    throw refused(
      'IMAGE_LAYOUT_INVALID',
      `it has several images, name one as PATH:NAME: ${usable.map((one) => nameOf(one) ?? one.digest).join(', ')}`,
    );
  return descend(chosen, findBlob, MAX_DEPTH);
}

/** As {@link resolveIndex} for what a registry answers: a manifest, or an index for several platforms. */
export function chooseManifest(content: Buffer): { readonly digest: string; readonly isIndex: boolean } {
  if (!isIndex(content)) return { digest: digestOf(content), isIndex: false };
  const { manifests } = parseJson(index, content, 'the index');
  const [chosen] = usableOf(manifests);
  if (chosen === undefined) throw nothingUsable(manifests, manifests, undefined);
  return { digest: parseDigest(chosen.digest), isIndex: true };
}

/** What a manifest describes. Blobs are read, and compared with their digests, here and not later. */
export async function sourceOfManifest(content: Buffer, findBlob: FindBlob, signal: AbortSignal): Promise<RootSource> {
  const { config, layers } = parseJson(manifest, content, 'the manifest');
  if (!CONFIG_TYPES.includes(config.mediaType)) throw unknownType(config.mediaType);
  const json = await readPart(await checkedBlob(config, findBlob, signal), MAX_JSON, 'the configuration', signal);
  const parsed = parseConfig(json);
  if (parsed.diffIds.length !== layers.length)
    throw refused(
      'IMAGE_LAYOUT_INVALID',
      `its manifest has ${String(layers.length)} layers, its configuration ${String(parsed.diffIds.length)}`,
    );
  const sources: SourceLayer[] = [];
  for (const [number, layer] of layers.entries()) {
    if (!LAYER_TYPE.test(layer.mediaType)) throw unknownType(layer.mediaType);
    const part = await checkedBlob(layer, findBlob, signal);
    sources.push(layerOf(part, { whiteouts: true, diffId: parseDigest(parsed.diffIds[number] ?? '') }));
  }
  return { layers: sources, config: parsed.config };
}

async function descend(chosen: Descriptor, findBlob: FindBlob, depth: number): Promise<ResolvedManifest> {
  const content = await readPart(await checkedBlob(chosen, findBlob), MAX_JSON, 'the manifest');
  if (!isIndex(content)) return { digest: parseDigest(chosen.digest), content };
  if (depth === 0) throw refused('IMAGE_LAYOUT_INVALID', 'it has indexes within indexes without end');
  const { manifests } = parseJson(index, content, 'the index');
  const [first] = usableOf(manifests);
  if (first === undefined) throw nothingUsable(manifests, manifests, undefined);
  return descend(first, findBlob, depth - 1);
}

/** By what it has rather than what it says: a media type is optional in both. */
function isIndex(content: Buffer): boolean {
  const { mediaType, manifests } = parseJson(kind, content, 'the manifest');
  const known = [...INDEX_TYPES, ...MANIFEST_TYPES];
  if (mediaType !== undefined && !known.includes(mediaType)) throw unknownType(mediaType);
  return manifests !== undefined;
}

/** Attestations say the platform unknown/unknown. */
const usableOf = (manifests: readonly Descriptor[]): Descriptor[] =>
  manifests.filter(
    ({ mediaType, platform }) =>
      (mediaType === '' || INDEX_TYPES.includes(mediaType) || MANIFEST_TYPES.includes(mediaType)) &&
      (platform === undefined || (platform.os === 'linux' && platform.architecture === OCI_ARCHITECTURE)),
  );

const nameOf = ({ annotations }: Descriptor): string | undefined => annotations?.['org.opencontainers.image.ref.name'];

function nothingUsable(all: readonly Descriptor[], named: readonly Descriptor[], name: string | undefined): Error {
  if (name !== undefined && named.length === 0)
    return refused(
      'IMAGE_LAYOUT_INVALID',
      `it has no image ${JSON.stringify(name)}; there are: ${all.map((one) => nameOf(one) ?? one.digest).join(', ')}`,
    );
  const platforms = named.flatMap(({ platform }) => (platform ? [`${platform.os}/${platform.architecture}`] : []));
  if (platforms.length > 0)
    return refused('IMAGE_PLATFORM_MISSING', `it is for ${platforms.join(', ')}, not for linux/${OCI_ARCHITECTURE}`);
  const [other] = named;
  return other === undefined ? refused('IMAGE_LAYOUT_INVALID', 'its index is empty') : unknownType(other.mediaType);
}

async function checkedBlob({ digest, size }: Descriptor, findBlob: FindBlob, signal?: AbortSignal): Promise<FilePart> {
  const part = await findBlob(parseDigest(digest));
  if (part === undefined) throw refused('IMAGE_LAYOUT_INVALID', `the blob ${digest} is missing`, { digest });
  if (part.size !== size)
    throw refused(
      'IMAGE_DIGEST_MISMATCH',
      `the blob ${digest} has ${String(part.size)} bytes instead of ${String(size)}`,
      {
        digest,
      },
    );
  assertDigest(await digestOfPart(part, signal), digest, 'a blob');
  return part;
}

const unknownType = (mediaType: string) =>
  refused('IMAGE_MEDIA_TYPE_UNKNOWN', `it has content of the type ${JSON.stringify(mediaType)}`, { mediaType });
