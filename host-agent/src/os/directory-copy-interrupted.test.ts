import { appendFileSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UNFINISHED_COPY, copyDirectory } from './directory-copy.js';

const MIB = 2 ** 20;

/** When a copy of one file in one folder asks its signal. */
const CHECKS = { beforeFile: 3, inFile: 4 } as const;

describe('a copy of a directory, half-way,', () => {
  let folder: string;
  let source: string;
  let destination: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'directory-copy-'));
    source = join(folder, 'source');
    destination = join(folder, 'copy');
    await mkdir(source);
  });
  afterEach(() => rm(folder, { recursive: true }));

  const put = (name: string, content: string | Buffer = name) => writeFile(join(source, name), content);

  describe('refuses a source that changes under it:', () => {
    beforeEach(async () => {
      await mkdir(join(source, 'folder'));
      await put('folder/file');
    });
    const folderOf = () => join(source, 'folder');
    const moveFolderAway = () => {
      renameSync(folderOf(), join(source, 'old.tmp'));
    };
    it.each<[string, number, () => void, RegExp]>([
      [
        'a file that goes away',
        CHECKS.beforeFile,
        () => {
          rmSync(join(folderOf(), 'file'));
        },
        /file is gone/,
      ],
      ['a folder that goes away', CHECKS.beforeFile, moveFolderAway, /file is gone/],
      [
        'a folder that another takes the place of',
        CHECKS.beforeFile,
        () => {
          moveFolderAway();
          mkdirSync(folderOf());
          writeFileSync(join(folderOf(), 'file'), 'other');
        },
        /folder was replaced/,
      ],
      [
        'a folder that becomes a link to a folder',
        CHECKS.beforeFile,
        () => {
          moveFolderAway();
          symlinkSync('old.tmp', folderOf());
        },
        /folder was replaced/,
      ],
      [
        'a folder that becomes a file',
        CHECKS.beforeFile,
        () => {
          moveFolderAway();
          writeFileSync(folderOf(), '');
        },
        /file has become another kind of file/,
      ],
      [
        'a file that is written to',
        CHECKS.inFile,
        () => {
          appendFileSync(join(folderOf(), 'file'), 'more');
        },
        /file was written to/,
      ],
    ])('%s', async (_, check, change, message) => {
      const signal = signalThat((count) => {
        if (count === check) change();
      });
      const error: unknown = await copyDirectory(source, destination, { durable: false }, signal).catch(
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({ kind: 'Corrupt', reason: 'FILE_CHANGED' });
      expect((error as Error).message).toMatch(message);
      expect(await readdir(folder)).toEqual(['source']);
    });
  });

  it('leaves nothing at whatever point it is cancelled', async () => {
    await mkdir(join(source, 'folder'));
    await put('folder/file', Buffer.alloc(20 * MIB, 1));
    await chmod(join(source, 'folder/file'), 0o400);
    await symlink('folder', join(source, 'link'));
    await chmod(join(source, 'folder'), 0o500);
    let whole = false;
    let point = 0;
    while (!whole) {
      point++;
      const cancelled = copyDirectory(
        source,
        destination,
        { durable: true },
        signalThat((count) => {
          if (count === point) throw new DOMException('cancelled', 'AbortError');
        }),
      );
      whole = await cancelled.then(
        () => true,
        (error: unknown) => {
          expect(error).toMatchObject({ name: 'AbortError' });
          return false;
        },
      );
      expect(await readdir(folder)).toEqual(whole ? ['copy', 'source'] : ['source']);
    }
    for (const tree of [source, destination]) await chmod(join(tree, 'folder'), 0o700);
    // Of each entry, folder and stage.
    expect(point).toBeGreaterThan(8);
  });

  it('is made beside its destination under a name that tells that it is not whole', async () => {
    await put('file');
    const seen = new Set<string>();
    await copyDirectory(
      source,
      destination,
      { durable: false },
      signalThat(() => {
        for (const name of readdirSync(folder)) seen.add(name);
      }),
    );
    const [temporary] = [...seen].filter((name) => name !== 'source');
    expect(temporary).toMatch(/^\.new-copy-[0-9a-f-]{36}$/);
    expect(temporary!.startsWith(UNFINISHED_COPY)).toBe(true);
    expect(seen.size).toBe(2);
  });
});

/** A signal that does something each time it is asked, in the midst of the copy. */
function signalThat(act: (count: number) => void): AbortSignal {
  const { signal } = new AbortController();
  let count = 0;
  signal.throwIfAborted = () => {
    act(++count);
  };
  return signal;
}
