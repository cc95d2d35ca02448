import { mkdtemp, mkdir, open, rm, symlink, link, writeFile, chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { execa } from 'execa';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { padded, paxRecord, tarOfTest, withChecksum } from '../testing/tar-of-test.js';
import { fromText } from './byte-string.js';
import { readTar } from './read-tar.js';
import type { TarEntry } from './read-tar.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000 });

type Read = Omit<TarEntry, 'content'> & { readonly data: Buffer };

/** @param chunk bytes at a time */
async function read(tar: Buffer, chunk = 1000): Promise<Read[]> {
  const chunks = Array.from({ length: Math.ceil(tar.length / chunk) }, (_, index) =>
    tar.subarray(index * chunk, (index + 1) * chunk),
  );
  const entries: Read[] = [];
  for await (const { content, ...entry } of readTar(Readable.from(chunks))) {
    const data: Buffer[] = [];
    for await (const piece of content()) data.push(piece);
    entries.push({ ...entry, data: Buffer.concat(data) });
  }
  return entries;
}

/** The file as it is with its holes. */
function whole({ size, extents, data }: Read): Buffer {
  const file = Buffer.alloc(size);
  let from = 0;
  for (const { offset, length } of extents) {
    data.copy(file, offset, from, from + length);
    from += length;
  }
  return file;
}

describe('a tar', () => {
  it('has files, folders, links, devices and FIFOs with owners, modes and times', async () => {
    const entries = await read(
      tarOfTest([
        { path: 'dir/', mode: 0o1777, uid: 7, gid: 8, mtime: 5 },
        { path: 'dir/file', content: 'content', mode: 0o4755 },
        { path: 'hard', type: '1', target: 'dir/file' },
        { path: 'soft', type: '2', target: '/dir/file' },
        { path: 'tty', type: '3', major: 5, minor: 1 },
        { path: 'disk', type: '4', major: 254, minor: 0 },
        { path: 'pipe', type: '6' },
      ]),
    );
    expect(entries.map(({ kind }) => kind)).toEqual([
      'directory',
      'file',
      'hardLink',
      'symlink',
      'character',
      'block',
      'fifo',
    ]);
    expect(entries[0]).toMatchObject({ path: 'dir/', mode: 0o1777, uid: 7, gid: 8, mtime: 5 });
    expect(entries[1]).toMatchObject({ mode: 0o4755, size: 7, data: Buffer.from('content') });
    expect(entries[2]).toMatchObject({ target: 'dir/file' });
    expect(entries[4]).toMatchObject({ major: 5, minor: 1 });
  });

  it('has long names, large numbers and extended attributes of any bytes in extended headers', async () => {
    const name = `${'n'.repeat(200)}/é\n"x`;
    const value = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)).toString('latin1');
    const pax = {
      path: fromText(name),
      linkpath: 'elsewhere',
      uid: '4000000000',
      mtime: '5000000000.75',
      'SCHILY.xattr.security.capability': value,
    };
    const [entry] = await read(tarOfTest([{ path: 'short', pax }]), 7);
    expect(entry).toMatchObject({ path: fromText(name), target: 'elsewhere', uid: 4e9, mtime: 5e9 });
    expect(entry?.xattrs.get('security.capability')).toEqual(Buffer.from(value, 'latin1'));
  });

  it('says of one entry nothing of the next', async () => {
    const [, second] = await read(tarOfTest([{ path: 'a', pax: { path: 'long', uid: '5' } }, { path: 'b' }]));
    expect(second).toMatchObject({ path: 'b', uid: 0 });
  });

  it('goes on behind an entry nobody read', async () => {
    const tar = tarOfTest([{ path: 'a', content: Buffer.alloc(5000, 1) }, { path: 'b' }]);
    const paths: string[] = [];
    for await (const { path } of readTar(Readable.from([tar]))) paths.push(path);
    expect(paths).toEqual(['a', 'b']);
  });

  describe.each(['gnu', 'pax', 'ustar', 'v7', 'oldgnu'])('of GNU tar in the format %s', (format) => {
    let folder: string;
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'offshoot-tar-'));
      await mkdir(join(folder, 'd'));
      await writeFile(join(folder, 'd/file'), 'content');
      await chmod(join(folder, 'd/file'), 0o750);
      await link(join(folder, 'd/file'), join(folder, 'd/hard'));
      await symlink('file', join(folder, 'd/soft'));
    });
    afterEach(() => rm(folder, { recursive: true }));
    const pack = async (...options: string[]): Promise<Buffer> =>
      Buffer.from(
        (
          await execa('tar', ['-c', `--format=${format}`, '--sort=name', ...options, '-C', folder, 'd'], {
            encoding: 'buffer',
          })
        ).stdout,
      );

    it('is read as it was packed', async () => {
      const entries = await read(await pack());
      expect(entries.map(({ path, kind }) => [path, kind])).toEqual([
        ['d/', 'directory'],
        ['d/file', 'file'],
        ['d/hard', 'hardLink'],
        ['d/soft', 'symlink'],
      ]);
      expect(entries[1]).toMatchObject({ mode: 0o750, data: Buffer.from('content') });
    });

    // The other two have neither.
    const it_ = format === 'ustar' || format === 'v7' ? undefined : it;
    it_?.('has long names and files with holes', async () => {
      const name = `d/${'long'.repeat(50)}`;
      {
        await using file = await open(join(folder, name), 'w');
        // More stretches than one header block has room for.
        for (let at = 0; at < 40; at++)
          await file.write(Buffer.alloc(4096, at + 1), 0, 4096, at * 100_000 - ((at * 100_000) % 4096));
        await file.truncate(10_000_000);
      }
      const entry = (await read(await pack('--sparse'))).find(({ path }) => path === name);
      expect(entry!.size).toBe(10_000_000);
      expect(entry!.data.length).toBeLessThan(1_000_000);
      await using file = await open(join(folder, name));
      expect(whole(entry!).equals(await file.readFile())).toBe(true);
    });
  });

  it('has files with holes in the formats 0.1 and 1.0 of GNU tar', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'offshoot-tar-'));
    try {
      {
        await using file = await open(join(folder, 'holes'), 'w');
        await file.write(Buffer.alloc(4096, 7), 0, 4096, 1_048_576);
        await file.truncate(3_000_000);
      }
      for (const version of ['0.1', '1.0']) {
        const args = ['-c', '--format=pax', '--sparse', `--sparse-version=${version}`, '-C', folder, 'holes'];
        const { stdout } = await execa('tar', args, { encoding: 'buffer' });
        const [entry] = await read(Buffer.from(stdout));
        expect(entry).toMatchObject({ path: 'holes', size: 3_000_000 });
        expect(whole(entry!)[1_048_576]).toBe(7);
        expect(entry!.data.length).toBeLessThan(100_000);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  const file = { path: 'file', content: Buffer.alloc(2000, 1) };
  const good = tarOfTest([file]);
  const changed = (at: number, text: string, tar = good): Buffer => {
    const copy = Buffer.from(tar);
    copy.write(text, at, 'latin1');
    withChecksum(copy.subarray(0, 512));
    return copy;
  };
  const extended = (content: string): Buffer => tarOfTest([{ path: 'x', type: 'x', content }, file]);
  const sparse = (pax: Record<string, string>, content: string): Buffer => tarOfTest([{ path: 'f', pax, content }]);
  it.each<[string, Buffer, RegExp]>([
    ['without its end', tarOfTest([file], { end: false }), /cut short/],
    ['that ends in a header', good.subarray(0, 300), /cut short/],
    ['that ends in a file', good.subarray(0, 1500), /cut short in "file"/],
    ['that ends in the padding of a file', good.subarray(0, 512 + 2010), /cut short in "file"/],
    ['that is empty', Buffer.alloc(0), /cut short/],
    ['with a wrong checksum', Buffer.from(good).fill(0x41, 0, 1), /checksum/],
    ['with a number that is none', changed(124, '9zzzzzzzzzz'), /"9zzzzzzzzzz/],
    [
      'with a number beyond all numbers',
      changed(124, '\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff'),
      /a number of a header is \d{20}/,
    ],
    ['with a type nobody knows', changed(156, 'V'), /"file" is of the type "V"/],
    ['with an extended header of garbage', extended('garbage'), /LENGTH KEYWORD=VALUE/],
    ['with an extended header that says more than it has', extended('99 path=x\n'), /LENGTH KEYWORD=VALUE/],
    ['with an extended header without a value', extended('8 path\n\n'), /LENGTH KEYWORD=VALUE/],
    ['with an endless extended header', tarOfTest([{ path: 'x', type: 'x', size: 2 ** 30 }]), /has 1073741824 bytes/],
    ['with a size that is no number', tarOfTest([{ path: 'f', pax: { size: '1e99' } }]), /size of an extended header/],
    [
      'with a map of holes without an end',
      sparse({ 'GNU.sparse.major': '1', 'GNU.sparse.realsize': '9' }, '9\n'),
      /has no end/,
    ],
    [
      'with a map of holes out of order',
      sparse({ 'GNU.sparse.map': '4,1,0,1', 'GNU.sparse.size': '9' }, 'ab'),
      /not in order/,
    ],
    [
      'with a map of holes beyond the data',
      sparse({ 'GNU.sparse.map': '0,5', 'GNU.sparse.size': '9' }, 'ab'),
      /does not fit/,
    ],
    [
      'with a map of holes beyond the file',
      sparse({ 'GNU.sparse.map': '8,2', 'GNU.sparse.size': '9' }, 'ab'),
      /does not fit/,
    ],
    ['with a map of holes of text', sparse({ 'GNU.sparse.map': 'a,b', 'GNU.sparse.size': '9' }, 'ab'), /not in order/],
  ])('%s is refused', async (_, tar, message) => {
    await expect(read(tar)).rejects.toMatchObject({
      kind: 'InvalidInput',
      reason: 'TAR_MALFORMED',
      message: expect.stringMatching(message) as string,
    });
  });

  it('of any bytes is read or refused, and nothing else', async () => {
    const bases = [good, extended(paxRecord('path', 'x').toString()), padded(Buffer.alloc(1))];
    const damage = fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...bases), damage, fc.boolean(), async (base, bytes, repaired) => {
        const tar = Buffer.from(base);
        for (const [at, byte] of bytes) if (at < tar.length) tar[at] = byte;
        if (repaired) withChecksum(tar.subarray(0, 512));
        await read(tar).catch((error: unknown) => {
          expect(error).toMatchObject({ reason: 'TAR_MALFORMED' });
        });
      }),
      { numRuns: 2000 },
    );
  });
});
