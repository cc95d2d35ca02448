import { chmod, mkdtemp, open, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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
    expect(typeof cost === 'number' || !cost.reflinked ? blocks * 512 : 0).toBe(
      typeof cost === 'number' ? cost : cost.copiedBytes,
    );
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

  it('keeps mode and, unless the filesystem clones, modification time', async () => {
    await writeSparse();
    await chmod(source, 0o640);
    await utimes(source, 1_000_000, 1_000_000);
    await copyExtents(source, destination);
    const { mode, mtimeMs } = await stat(destination);
    expect([mode & 0o7777, mtimeMs]).toEqual([0o640, 1_000_000_000]);
  });
});
