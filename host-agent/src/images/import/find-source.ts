import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { NotFound, errnoOf } from '@offshoot/shared/errors.js';
import { ContentDigests } from '../content-digests.js';
import { directorySource } from './directory-source.js';
import { filesOfDirectory } from './file-set.js';
import { fileSource } from './file-source.js';
import { refused } from './image-refused.js';
import { openOciLayout, resolveOciLayout } from './oci-layout.js';
import { registrySource } from './registry-source.js';
import { sourceChanged } from './source-changed.js';
import type { ImageSource } from './image-source.js';

const REGISTRY = 'docker://';

/**
 * Looks at what `source` names: `docker://REFERENCE`, or an absolute path, with `:NAME` where it has several images.
 * @param digestMemory file in which digests of large files are remembered
 * @throws NotFound IMAGE_SOURCE_MISSING, InvalidInput IMAGE_SOURCE_UNKNOWN
 */
export async function findSource(source: string, digestMemory: string, signal: AbortSignal): Promise<ImageSource> {
  if (source.startsWith(REGISTRY)) return registrySource(source.slice(REGISTRY.length), signal);
  if (!isAbsolute(source) || source.includes('\0'))
    throw refused(
      'IMAGE_SOURCE_UNKNOWN',
      `it must be "default", docker://REFERENCE or an absolute path on the daemon's host, got ${JSON.stringify(source)}`,
    );
  const { path, name } = await splitName(source);
  const stats = await stat(path);
  if (stats.isFile())
    return fileSource(path, name, async () => {
      const digests = await ContentDigests.open(digestMemory);
      const digest = await digests.file(path, signal);
      await digests.save();
      return digest;
    });
  if (!stats.isDirectory()) throw refused('IMAGE_SOURCE_UNKNOWN', `${path} is neither a directory nor a file`);
  const files = filesOfDirectory(path);
  if ((await files.find('oci-layout')) !== undefined) {
    const { digest } = await resolveOciLayout(files, name);
    return {
      identity: `oci ${digest}`,
      open: async ({ signal: openSignal }) => {
        if ((await resolveOciLayout(files, name)).digest !== digest) throw sourceChanged(path);
        return openOciLayout(files, name, openSignal);
      },
    };
  }
  if (name !== undefined) throw refused('IMAGE_SOURCE_UNKNOWN', `${join(path, 'oci-layout')} is missing`);
  return directorySource(path, signal);
}

/** The longest beginning that is there, up to a colon, is the path. */
async function splitName(source: string): Promise<{ path: string; name: string | undefined }> {
  for (let end = source.length; end > 0; end = source.lastIndexOf(':', end - 1)) {
    const path = source.slice(0, end);
    // Digests are remembered by what a path leads to, not by a link that stays as it is.
    if (await isThere(path))
      return { path: await realpath(path), name: end === source.length ? undefined : source.slice(end + 1) };
  }
  throw new NotFound(`${source} is not there (a path is one on the daemon's host)`, {
    reason: 'IMAGE_SOURCE_MISSING',
    metadata: { path: source },
  });
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
      throw error;
    },
  );
