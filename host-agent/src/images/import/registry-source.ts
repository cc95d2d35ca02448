import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { NotFound, Timeout, Unreachable } from '@offshoot/shared/errors.js';
import { ToolFailure, streamTool } from '../tool.js';
import { assertDigest, digestOf, readPart } from './blob.js';
import { filesOfDirectory } from './file-set.js';
import { refused } from './image-refused.js';
import { MAX_JSON, chooseManifest, sourceOfManifest } from './oci-manifest.js';
import type { ImageSource, OpenOptions } from './image-source.js';
import type { RootSource } from './root-source.js';

export interface RegistryLimits {
  /** For the question what an image is, in milliseconds. */
  readonly askMs: number;
  /** For all of its layers, in milliseconds: a registry may stall for ever. */
  readonly fetchMs: number;
}

export const REGISTRY_LIMITS: RegistryLimits = { askMs: 60_000, fetchMs: 3_600_000 };

/** `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`, in the characters the distribution specification allows. */
const REFERENCE =
  /^(?:[A-Za-z0-9][\w.-]*|\[[0-9a-fA-F:]+\])(?::\d+)?(?:\/[a-z0-9._-]+)*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?$/;
/** Registries on this machine have no certificates, as Docker assumes too. */
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?\//;

/** An image in a registry, by way of skopeo with its settings and credentials. Asks the registry which one it is. */
export async function registrySource(
  reference: string,
  signal: AbortSignal,
  limits = REGISTRY_LIMITS,
): Promise<ImageSource> {
  if (!REFERENCE.test(reference))
    throw refused('IMAGE_SOURCE_UNKNOWN', `docker://${reference} is no reference to an image of a registry`);
  const raw = await skopeo(
    ['inspect', '--raw', ...tlsFlag('--tls-verify', reference), `docker://${reference}`],
    reference,
    limits.askMs,
    signal,
  );
  const { digest } = chooseManifest(raw);
  return { identity: `oci ${digest}`, open: (options) => fetch(reference, digest, limits, options) };
}

/** As skopeo's `dir:`, which keeps manifest and layers as the registry has them: their digests stay. */
async function fetch(
  reference: string,
  digest: string,
  limits: RegistryLimits,
  { scratch, signal }: OpenOptions,
): Promise<RootSource> {
  const directory = join(scratch, 'fetched');
  await mkdir(directory);
  const fixed = `${reference.replace(/@sha256:.*$/, '').replace(/:[^:/]+$/, '')}@${digest}`;
  await skopeo(
    ['copy', '--quiet', ...tlsFlag('--src-tls-verify', reference), `docker://${fixed}`, `dir:${directory}`],
    reference,
    limits.fetchMs,
    signal,
  );
  const files = filesOfDirectory(directory);
  const part = await files.find('manifest.json');
  if (part === undefined) throw refused('IMAGE_LAYOUT_INVALID', 'skopeo fetched no manifest');
  const manifest = await readPart(part, MAX_JSON, 'the manifest', signal);
  assertDigest(digestOf(manifest), digest, 'the manifest');
  return sourceOfManifest(manifest, (blob) => files.find(blob.replace('sha256:', '')), signal);
}

const tlsFlag = (flag: string, reference: string): string[] => (LOOPBACK.test(reference) ? [`${flag}=false`] : []);

async function skopeo(
  args: readonly string[],
  reference: string,
  limitMs: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const limit = AbortSignal.timeout(limitMs);
  try {
    // To the byte: a digest is made of it.
    const said: Buffer[] = [];
    for await (const chunk of streamTool('skopeo', args, { signal: AbortSignal.any([signal, limit]) }))
      said.push(chunk);
    return Buffer.concat(said);
  } catch (error) {
    const metadata = { reference };
    if (limit.aborted && !signal.aborted)
      throw new Timeout(`the registry did not give ${reference} within ${String(limitMs / 1000)} s`, {
        reason: 'REGISTRY_TIMEOUT',
        metadata,
        cause: error,
      });
    if (!(error instanceof ToolFailure)) throw error;
    if (/manifest unknown|name unknown|repository name not known/i.test(error.stderr))
      throw new NotFound(`the registry has no ${reference}`, {
        reason: 'IMAGE_NOT_IN_REGISTRY',
        metadata,
        cause: error,
      });
    throw new Unreachable(`${reference} cannot be fetched: ${error.message}`, {
      reason: 'REGISTRY_FAILED',
      metadata,
      cause: error,
    });
  }
}
