import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { sparseCopy } from '../../os/sparse-copy.js';
import { decodeHeader } from '../tar/tar-header.js';
import { hashFile } from '../content-digests.js';
import { openDockerArchive } from './docker-archive.js';
import { compressionOf, decompress } from './compression.js';
import { ArchiveFiles } from './file-set.js';
import { refused } from './image-refused.js';
import { layerOf, tapped } from './layer-entries.js';
import { openOciLayout } from './oci-layout.js';
import { sourceChanged } from './source-changed.js';
import type { DiskSource, ImageSource, OpenOptions } from './image-source.js';
import type { RootSource } from './root-source.js';

/** Folders a root file system has at its top, and an archive of images has not. */
const ROOT_FOLDERS = ['bin', 'etc', 'usr', 'sbin', 'lib', 'app'];

/**
 * A tar of a root file system, an archive of `docker save` or of an OCI layout, or an ext4 disk; each as it is or compressed
 * with gzip, zstd or xz.
 * @param name of the image in an archive of several
 * @param digest of the file, `sha256` in hex
 */
export async function fileSource(
  path: string,
  name: string | undefined,
  digest: () => Promise<string>,
): Promise<ImageSource> {
  // Before anybody waits for the digest of what is of no use.
  if ((await kindOf(path)) === 'unknown') throw unknownKind(path);
  const sha256 = await digest();
  const identity = `file sha256:${sha256}${name === undefined ? '' : ` ${name}`}`;
  return { identity, open: (options) => openFile(path, name, sha256, options) };
}

async function openFile(
  path: string,
  name: string | undefined,
  sha256: string,
  options: OpenOptions,
): Promise<RootSource | DiskSource> {
  const { budget, signal, scratch } = options;
  const kind = await kindOf(path);
  if (kind === 'compressed') return openUnpacked(await unpack(path, sha256, options), name, options);
  if (kind === 'disk') {
    const disk = join(scratch, 'disk');
    await sparseCopy(path, disk, signal);
    if ((await hashFile(disk, signal)) !== sha256) throw sourceChanged(path);
    return { disk };
  }
  const hash = createHash('sha256');
  const files = await ArchiveFiles.index(path, budget, (chunk) => hash.update(chunk), signal);
  if (hash.digest('hex') !== sha256) throw sourceChanged(path);
  return openArchive(path, files, name, signal);
}

async function openUnpacked(path: string, name: string | undefined, { budget, signal }: OpenOptions) {
  const kind = await kindOf(path);
  if (kind === 'disk') return { disk: path };
  if (kind !== 'tar') throw unknownKind(path);
  return openArchive(path, await ArchiveFiles.index(path, budget, () => undefined, signal), name, signal);
}

async function openArchive(
  path: string,
  files: ArchiveFiles,
  name: string | undefined,
  signal: AbortSignal,
): Promise<RootSource> {
  if (!ROOT_FOLDERS.some((folder) => files.top.has(folder))) {
    // Archives of Docker since 25 are both; the names its users know are in Docker's own index.
    if (files.top.has('manifest.json')) return openDockerArchive(files, name, signal);
    if (files.top.has('oci-layout')) return openOciLayout(files, name, signal);
  }
  if (name !== undefined)
    throw refused('IMAGE_SOURCE_UNKNOWN', `it is a root file system, which has no image ${JSON.stringify(name)} in it`);
  await using file = await open(path);
  const { size } = await file.stat();
  return { config: undefined, layers: [layerOf({ path, offset: 0, size }, { whiteouts: false })] };
}

/** Entries of a tar have to be found again, which needs a file. */
async function unpack(path: string, sha256: string, { scratch, budget, signal }: OpenOptions): Promise<string> {
  const target = join(scratch, 'unpacked');
  const hash = createHash('sha256');
  const file = createReadStream(path, { highWaterMark: 2 ** 20, signal }) as AsyncIterable<Buffer>;
  const input = Readable.from(tapped(file, (chunk) => hash.update(chunk)));
  let written = 0;
  const counted = tapped(decompress(input, compressionOf(await beginningOf(path)), signal), (chunk) => {
    budget.takeUnpacked(chunk.length);
    budget.assertRoom((written += chunk.length));
  });
  await writeFile(target, counted, { signal });
  if (hash.digest('hex') !== sha256) throw sourceChanged(path);
  return target;
}

async function kindOf(path: string): Promise<'compressed' | 'disk' | 'tar' | 'unknown'> {
  const beginning = await beginningOf(path);
  if (compressionOf(beginning) !== 'none') return 'compressed';
  // s_magic of the superblock, which is at 1024 (ext4(5), "Super Block").
  if (beginning.length === BEGINNING && beginning.readUInt16LE(1024 + 0x38) === 0xef53) return 'disk';
  try {
    if (beginning.length >= 512 && decodeHeader(beginning.subarray(0, 512)) !== undefined) return 'tar';
  } catch {
    // No header, and so no tar.
  }
  return 'unknown';
}

const BEGINNING = 2048;

async function beginningOf(path: string): Promise<Buffer> {
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(BEGINNING), 0, BEGINNING, 0);
  return buffer.subarray(0, bytesRead);
}

const unknownKind = (path: string) =>
  refused(
    'IMAGE_SOURCE_UNKNOWN',
    `${path} is neither a tar, an archive of docker save or of an OCI layout, nor an ext4 disk (plain, or packed with gzip, zstd or xz)`,
    { path },
  );
