import { InvalidState } from '@offshoot/shared/errors.js';
import { drain } from '../tar/drain.js';
import { readTar } from '../tar/read-tar.js';
import { ToolFailure, streamTool } from '../tool.js';
import { EntryDigest } from './entry-digest.js';
import { tapped } from './layer-entries.js';
import { sourceChanged } from './source-changed.js';
import type { TarEntry } from '../tar/read-tar.js';
import type { ImageSource } from './image-source.js';

/**
 * A root file system in a directory, read as the tar GNU tar makes of it: that knows hard links, holes, devices and extended
 * attributes. Of one file system, so that neither /proc nor anything else that is mounted below becomes part of the image.
 */
const TAR = [
  '--create',
  '--format=pax',
  '--pax-option=delete=atime,delete=ctime',
  '--sort=name',
  '--numeric-owner',
  '--xattrs',
  '--xattrs-include=*',
  '--sparse',
  '--one-file-system',
];

/** Reads all of it, for its identity. */
export async function directorySource(path: string, signal: AbortSignal): Promise<ImageSource> {
  const digest = new EntryDigest();
  await drain(digest.over(entriesOf(path, () => undefined, signal)));
  const identity = `directory ${digest.end()}`;
  return {
    identity,
    open: () =>
      Promise.resolve({
        config: undefined,
        layers: [
          {
            whiteouts: false,
            entries: async function* (onBytes, openSignal): AsyncGenerator<TarEntry> {
              const again = new EntryDigest();
              yield* again.over(entriesOf(path, onBytes, openSignal));
              if (`directory ${again.end()}` !== identity) throw sourceChanged(path);
            },
          },
        ],
      }),
  };
}

async function* entriesOf(
  path: string,
  onBytes: (count: number) => void,
  signal: AbortSignal,
): AsyncGenerator<TarEntry, void, undefined> {
  const bytes = tapped(streamTool('tar', [...TAR, '-C', path, '.'], { signal }), (chunk) => {
    onBytes(chunk.length);
  });
  try {
    yield* readTar(bytes);
    await drain(bytes);
  } catch (error) {
    if (!(error instanceof ToolFailure)) throw error;
    // tar(1): 1 is "some files differ", 2 is all else, which is a file that may not be read.
    if (error.exitCode === 1) throw sourceChanged(path, error);
    throw new InvalidState(`${path} cannot be read: ${error.stderr.trim().split('\n')[0] ?? ''}`, {
      reason: 'IMAGE_SOURCE_UNREADABLE',
      metadata: { path },
      cause: error,
    });
  } finally {
    await bytes.return();
  }
}
