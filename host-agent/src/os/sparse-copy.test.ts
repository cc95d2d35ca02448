import { truncateSync } from 'node:fs';
import { chmod, mkdtemp, open, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { setFileTimes } from './libc.js';
import { copyExtents, sparseCopy } from './sparse-copy.js';

const MIB = 1024 * 1024;

describe.each([
  ['a sparse copy', sparseCopy],
  ['a sparse copy without reflinks', copyExtents],
])('%s', (_, copy) => {
  let directory: string;
  let source: string;
  let destination: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sparse-copy-'));
    source = join(directory, 'source');
    destination = join(directory, 'destination');
  });
  afterEach(() => rm(directory, { recursive: true }));

  /** 32 MiB with data at the begin, in the middle and at the very end. */
  async function writeSparse(): Promise<void> {
    await using file = await open(source, 'wx');
    await file.truncate(32 * MIB);
    for (const position of [0, 10 * MIB + 4096, 32 * MIB - 5]) await file.write(Buffer.from('data!'), 0, 5, position);
  }

  it('has the same bytes and takes no more room than the data', async () => {
    await writeSparse();
    await copy(source, destination);
    expect((await stat(destination)).blocks * 512).toBeLessThan(MIB);
    expect((await readFile(destination)).equals(await readFile(source))).toBe(true);
  });

  it('says how much it copied', async () => {
    await writeSparse();
    const { blocks } = await stat(source);
    const cost = await copy(source, destination);
    expect(cost.copiedBytes).toBe(cost.reflinked ? 0 : blocks * 512);
  });

  it('copies a file that is one hole, an empty one, and one without holes', async () => {
    for (const [name, fill] of [
      ['hole', (path: string) => truncate(path, 16 * MIB)],
      ['empty', () => Promise.resolve()],
      ['dense', (path: string) => writeFile(path, Buffer.alloc(9 * MIB, 7))],
    ] as const) {
      const path = join(directory, name);
      await writeFile(path, '');
      await fill(path);
      await copy(path, `${path}-copy`);
      expect((await readFile(`${path}-copy`)).equals(await readFile(path))).toBe(true);
    }
  });

  it('does not write over a file that is there', async () => {
    await writeSparse();
    await writeFile(destination, 'mine');
    await expect(copy(source, destination)).rejects.toThrow('EEXIST');
    expect(await readFile(destination, 'utf8')).toBe('mine');
  });

  it('leaves no file when it is cancelled', async () => {
    await writeSparse();
    await expect(copy(source, destination, AbortSignal.abort())).rejects.toThrow(/abort/i);
    await expect(stat(destination)).rejects.toThrow('ENOENT');
  });

  it('tells what it took: nothing when the blocks are shared, else the data', async () => {
    await writeSparse();
    const { reflinked, copiedBytes } = await copy(source, destination);
    if (copy === copyExtents) expect(reflinked).toBe(false);
    if (reflinked) expect(copiedBytes).toBe(0);
    else {
      // Three pieces of five bytes, each in a block or huge page of its own.
      expect(copiedBytes).toBeGreaterThanOrEqual(15);
      expect(copiedBytes).toBeLessThan(MIB);
    }
  });

  it('keeps mode and, to the nanosecond, modification time', async () => {
    await writeSparse();
    await chmod(source, 0o640);
    setFileTimes(source, 0n, 1_700_000_000_123_456_789n);
    await copy(source, destination);
    const { mode, mtimeNs } = await stat(destination, { bigint: true });
    expect([mode & 0o7777n, mtimeNs]).toEqual([0o640n, 1_700_000_000_123_456_789n]);
  });
});

describe('a sparse copy of extents', () => {
  it('fails, and leaves nothing, when the file becomes shorter under it', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'sparse-copy-'));
    try {
      const source = join(directory, 'source');
      await writeFile(source, Buffer.alloc(20 * MIB, 1));
      const { signal } = new AbortController();
      let asked = 0;
      signal.throwIfAborted = () => {
        if (++asked === 3) truncateSync(source, MIB);
      };
      await expect(copyExtents(source, join(directory, 'destination'), signal)).rejects.toMatchObject({
        kind: 'Corrupt',
        reason: 'FILE_CHANGED',
      });
      expect(await readdir(directory)).toEqual(['source']);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
