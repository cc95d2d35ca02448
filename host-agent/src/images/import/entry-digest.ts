import { createHash } from 'node:crypto';
import { drain } from '../tar/drain.js';
import type { Hash } from 'node:crypto';
import type { TarEntry } from '../tar/read-tar.js';

/**
 * A digest of what the entries of a tar say, and not of how: GNU tar writes its process id into the headers of sparse files.
 * Complete when all entries were taken; passes them on.
 */
export class EntryDigest {
  private readonly hash = createHash('sha256');

  async *over(entries: AsyncIterable<TarEntry>): AsyncGenerator<TarEntry, void, undefined> {
    for await (const entry of entries) {
      const { kind, path, target, mode, uid, gid, mtime, major, minor, size, extents } = entry;
      const xattrs = [...entry.xattrs].map(([name, value]) => [name, value.toString('hex')]).sort();
      this.hash.update(
        JSON.stringify([kind, path, target, mode, uid, gid, mtime, major, minor, size, extents, xattrs]),
      );
      // Content nobody wants is hashed all the same.
      let content: AsyncIterable<Buffer> | undefined;
      const hashed = (): AsyncIterable<Buffer> => (content ??= hashedContent(entry, this.hash));
      yield { ...entry, content: hashed };
      await drain(hashed());
    }
  }

  /** `sha256:HEX`. */
  end(): string {
    return `sha256:${this.hash.digest('hex')}`;
  }
}

async function* hashedContent(entry: TarEntry, hash: Hash): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of entry.content()) {
    hash.update(chunk);
    yield chunk;
  }
}
