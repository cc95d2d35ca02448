import { createReadStream } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import { drain } from '../tar/drain.js';
import { readTar } from '../tar/read-tar.js';
import { tapped } from './layer-entries.js';
import type { FilePart } from './blob.js';
import type { ImportBudget } from './import-limits.js';

/** Files by relative path: a directory, or an archive of one. */
export interface FileSet {
  /** Undefined unless there is a regular file. */
  find(path: string): Promise<FilePart | undefined>;
}

export const filesOfDirectory = (directory: string): FileSet => ({
  find: async (name) => {
    const path = join(directory, name);
    try {
      const stats = await lstat(path);
      return stats.isFile() ? { path, offset: 0, size: stats.size } : undefined;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
      throw error;
    }
  },
});

/** `docker save` of old has links in it, to layers that several images have. */
const MAX_LINKS = 8;

/** Files within an uncompressed tar, where they are. */
export class ArchiveFiles implements FileSet {
  private readonly parts = new Map<string, FilePart>();
  private readonly links = new Map<string, string>();
  /** Names at the top. */
  readonly top = new Set<string>();

  /** Reads it once. @param onChunk sees all of it, in order */
  static async index(
    path: string,
    budget: ImportBudget,
    onChunk: (chunk: Buffer) => void,
    signal: AbortSignal,
  ): Promise<ArchiveFiles> {
    const archive = new ArchiveFiles();
    const bytes = tapped(createReadStream(path, { highWaterMark: 2 ** 20, signal }) as AsyncIterable<Buffer>, onChunk);
    try {
      for await (const entry of readTar(bytes)) {
        budget.takeEntry(entry.path.length + entry.target.length);
        const name = posix.normalize(entry.path).replace(/^\/+|\/+$/g, '');
        archive.top.add(name.split('/')[0] ?? '');
        archive.parts.delete(name);
        archive.links.delete(name);
        if (entry.kind === 'file') archive.parts.set(name, { path, offset: entry.contentOffset, size: entry.size });
        if (entry.kind === 'hardLink') archive.links.set(name, posix.normalize(entry.target));
        if (entry.kind === 'symlink')
          archive.links.set(name, posix.normalize(posix.join(posix.dirname(name), entry.target)));
      }
      await drain(bytes);
      return archive;
    } finally {
      await bytes.return();
    }
  }

  find(path: string): Promise<FilePart | undefined> {
    let name: string | undefined = posix.normalize(path);
    for (let links = 0; name !== undefined && links < MAX_LINKS; links++) {
      const part = this.parts.get(name);
      if (part !== undefined) return Promise.resolve(part);
      name = this.links.get(name);
    }
    return Promise.resolve(undefined);
  }
}
