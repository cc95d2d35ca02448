import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, readFile, readlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import * as z from 'zod';
import { errnoOf } from '@offshoot/shared/errors.js';
import { replaceFile } from '../os/durable-file.js';
import { walkTree } from './walk-tree.js';

const remembered = z.record(z.string(), z.object({ stamp: z.string(), sha256: z.string() }));

/** SHA-256 of a file, in hex. */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 2 ** 20 }), hash, { ...(signal && { signal }) });
  return hash.digest('hex');
}

/**
 * Digests of files, remembered by size, times and inode: Node's binary has 95 MB and takes 0.3 s or more to read.
 * One object serves one round of questions; {@link save} keeps what was asked in it and forgets the rest.
 */
export class ContentDigests {
  private readonly asked = new Map<string, { stamp: string; sha256: string }>();

  private constructor(
    private readonly path: string,
    private readonly known: z.infer<typeof remembered>,
  ) {}

  /** @param path of the memory; absent or unreadable it is only slower */
  static async open(path: string): Promise<ContentDigests> {
    try {
      return new ContentDigests(path, remembered.parse(JSON.parse(await readFile(path, 'utf8'))));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError || error instanceof z.ZodError)
        return new ContentDigests(path, {});
      throw error;
    }
  }

  /** Hex digest of a file's content. */
  async file(path: string, signal?: AbortSignal): Promise<string> {
    const { size, mtimeNs, ctimeNs, ino, dev } = await lstat(path, { bigint: true });
    const stamp = [size, mtimeNs, ctimeNs, ino, dev].join(' ');
    const known = this.asked.get(path) ?? (Object.hasOwn(this.known, path) ? this.known[path] : undefined);
    const sha256 = known?.stamp === stamp ? known.sha256 : await hashFile(path, signal);
    this.asked.set(path, { stamp, sha256 });
    return sha256;
  }

  /**
   * Hex digest over a folder: names, executable bits, link targets and contents; not owners and times.
   * @param counts by an entry's name, relative to the folder; all of them when left out
   */
  async folder(
    path: string,
    { counts = () => true, signal }: { counts?: (name: string) => boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<string> {
    const hash = createHash('sha256');
    for await (const { name, path: full, stats } of walkTree(path)) {
      if (!counts(name)) continue;
      const content = stats.isSymbolicLink()
        ? ['link', await readlink(full)]
        : stats.isDirectory()
          ? ['directory']
          : [(stats.mode & 0o100) === 0 ? 'file' : 'program', await this.file(full, signal)];
      hash.update(JSON.stringify([name, ...content]));
    }
    return hash.digest('hex');
  }

  async save(): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true });
    await replaceFile(this.path, JSON.stringify(Object.fromEntries(this.asked)), { durable: false });
  }
}
