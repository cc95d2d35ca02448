import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  readlink,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { copyDirectory, type DirectoryCopyOptions } from './directory-copy.js';
import { setFileTimes } from './libc.js';

const MIB = 2 ** 20;
const isRoot = process.getuid?.() === 0;

describe('a copy of a directory', () => {
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

  const copy = (options: Partial<DirectoryCopyOptions> = {}) =>
    copyDirectory(source, destination, { durable: false, ...options });
  const put = async (name: string, content: string | Buffer = name): Promise<string> => {
    const path = join(source, name);
    await writeFile(path, content);
    return path;
  };
  /** Fails, and leaves nothing beside the source. */
  const refused = async (): Promise<unknown> => {
    const error: unknown = await copy().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(Error);
    expect(await readdir(folder)).toEqual(['source']);
    return error;
  };

  it.each([false, true])('has the files, the folders and the links of the source (durable: %s)', async (durable) => {
    await mkdir(join(source, 'a/b/empty'), { recursive: true });
    await put('top');
    await put('a/b/deep', randomBytes(3 * MIB));
    await put('a/nothing', '');
    await symlink('../top', join(source, 'a/link'));
    expect(await copy({ durable })).toMatchObject({ files: 3 });
    expect((await readdir(destination, { recursive: true })).sort()).toEqual(
      ['a', 'a/b', 'a/b/deep', 'a/b/empty', 'a/link', 'a/nothing', 'top'].sort(),
    );
    for (const name of ['top', 'a/b/deep', 'a/nothing'])
      expect((await readFile(join(destination, name))).equals(await readFile(join(source, name)))).toBe(true);
    expect(await readlink(join(destination, 'a/link'))).toBe('../top');
    expect((await readdir(folder)).sort()).toEqual(['copy', 'source']);
  });

  it('tells what it cost: nothing where blocks are shared, else the data without the holes', async () => {
    await truncate(await put('disk'), 64 * MIB);
    await put('data', randomBytes(MIB));
    const { files, copiedBytes, reflinked } = await copy();
    expect(files).toBe(2);
    if (reflinked) expect(copiedBytes).toBe(0);
    else {
      expect(copiedBytes).toBeGreaterThanOrEqual(MIB);
      expect(copiedBytes).toBeLessThan(2 * MIB);
    }
    expect((await stat(join(destination, 'disk'))).blocks * 512).toBeLessThan(MIB);
  });

  it('keeps modes and times to the nanosecond, of folders and links too', async () => {
    await mkdir(join(source, 'folder'));
    await put('folder/file');
    await symlink('file', join(source, 'folder/link'));
    await chmod(join(source, 'folder/file'), 0o6751);
    await chmod(join(source, 'folder'), 0o1555);
    await chmod(source, 0o710);
    const names = ['folder/file', 'folder/link', 'folder', '.'];
    for (const [index, name] of names.entries())
      setFileTimes(join(source, name), 1_000_000_001n, 1_700_000_000_123_456_789n + BigInt(index));
    await copy();
    for (const [index, name] of names.entries()) {
      const before = await lstat(join(source, name), { bigint: true });
      const after = await lstat(join(destination, name), { bigint: true });
      expect([name, after.mode, after.mtimeNs]).toEqual([
        name,
        before.mode,
        1_700_000_000_123_456_789n + BigInt(index),
      ]);
    }
    for (const tree of [source, destination]) await chmod(join(tree, 'folder'), 0o700);
  });

  it.skipIf(!isRoot)(
    `keeps owners, also of links, and what a file may do as its owner${isRoot ? '' : ' (skipped: root)'}`,
    async () => {
      const path = await put('file');
      await chown(path, 1234, 2345);
      await chmod(path, 0o4755);
      await execa('ln', ['-s', 'file', join(source, 'link')]);
      await execa('chown', ['-h', '77:88', join(source, 'link')]);
      await chown(source, 5, 6);
      await copy();
      const owners = async (name: string) => {
        const { uid, gid, mode } = await lstat(join(destination, name));
        return [uid, gid, mode & 0o7777];
      };
      expect(await owners('file')).toEqual([1234, 2345, 0o4755]);
      expect((await owners('link')).slice(0, 2)).toEqual([77, 88]);
      expect((await owners('.')).slice(0, 2)).toEqual([5, 6]);
    },
  );

  it('keeps several names of one file one file, and shares none with the source', async () => {
    await mkdir(join(source, 'folder'));
    await link(await put('one'), join(source, 'folder/two'));
    await link(join(source, 'one'), join(folder, 'outside'));
    expect(await copy()).toMatchObject({ files: 2 });
    const [one, two] = await Promise.all(['one', 'folder/two'].map((name) => stat(join(destination, name))));
    expect(one!.ino).toBe(two!.ino);
    expect(one!.nlink).toBe(2);
  });

  it('leaves out what belongs to one run and what the caller names, at the top', async () => {
    for (const name of ['logs', 'inner', 'inner/logs', 'run', 'inner/run']) await mkdir(join(source, name));
    for (const name of ['logs/log', 'inner/logs/log', 'run/x', 'inner/run/y', 'memory', 'disk', 'inner/memory'])
      await put(name);
    for (const name of ['vmm.pid', 'inner/vmm.pid', '.record.json.tmp']) await put(name);
    const servers: Server[] = [];
    for (const name of ['qmp.sock', 'inner/channel.sock']) servers.push(createServer().listen(join(source, name)));
    await Promise.all(servers.map((server) => once(server, 'listening')));
    try {
      // A device may be among what is left out.
      if (isRoot) await execa('mknod', [join(source, 'run/null'), 'c', '1', '3']);
      await copy({ exclude: ['run', 'memory', 'absent'] });
    } finally {
      for (const server of servers) server.close();
    }
    expect((await readdir(destination, { recursive: true })).sort()).toEqual([
      'disk',
      'inner',
      'inner/logs',
      'inner/logs/log',
      'inner/memory',
      'inner/run',
      'inner/run/y',
    ]);
  });

  it('copies a file called logs', async () => {
    await put('logs');
    await copy();
    expect(await readdir(destination)).toEqual(['logs']);
  });

  it('refuses a FIFO, without waiting for who writes to it', async () => {
    await mkdir(join(source, 'inner'));
    await execa('mkfifo', [join(source, 'inner/pipe')]);
    expect(await refused()).toMatchObject({
      kind: 'InvalidState',
      reason: 'FILE_NOT_COPYABLE',
      metadata: { path: join(source, 'inner/pipe'), type: 'FIFO' },
    });
  });

  it.skipIf(!isRoot)(`refuses devices${isRoot ? '' : ' (skipped: root)'}`, async () => {
    for (const [kind, type] of [
      ['c', 'character device'],
      ['b', 'block device'],
    ] as const) {
      const path = join(source, 'device');
      await execa('mknod', [path, kind, '1', '3']);
      expect(await refused()).toMatchObject({ reason: 'FILE_NOT_COPYABLE', metadata: { path, type } });
      await rm(path);
    }
  });

  describe('refuses a link that leads out of the tree', () => {
    it.each([
      ['absolute', { link: '/etc/passwd' }],
      ['absolute into the tree', { link: 'SOURCE/file' }],
      ['upwards', { link: '../file' }],
      ['upwards from within', { 'inner/link': '../../source/file' }],
      ['up and down again', { link: 'inner/../../source' }],
      ['through another link', { 'inner/up': '..', 'inner/link': 'up/../file' }],
      ['through a link to a folder', { deep: 'inner/deeper', link: 'deep/../../..' }],
    ])('%s', async (_, links: Record<string, string>) => {
      await mkdir(join(source, 'inner/deeper'), { recursive: true });
      await put('file');
      for (const [name, target] of Object.entries(links))
        await symlink(target.replace('SOURCE', source), join(source, name));
      const error = await refused();
      expect(error).toMatchObject({ kind: 'InvalidState', reason: 'LINK_LEAVES_DIRECTORY' });
      expect((error as { metadata: { path: string } }).metadata.path).toMatch(/link$/);
    });
  });

  it('copies a link that stays in the tree as it is: up and down, to nothing, in a circle', async () => {
    await mkdir(join(source, 'inner'));
    const links = {
      'inner/up': '../inner/./file',
      'inner/back': 'up/../../inner',
      nothing: 'absent/../more',
      circle: 'circle',
      '.pid-like': 'inner',
    };
    for (const [name, target] of Object.entries(links)) await symlink(target, join(source, name));
    await copy();
    for (const [name, target] of Object.entries(links)) expect(await readlink(join(destination, name))).toBe(target);
  });

  it('takes nothing away from what has the name already', async () => {
    await put('file');
    await mkdir(destination);
    await expect(copy()).rejects.toMatchObject({ kind: 'AlreadyExists', metadata: { path: destination } });
    expect((await readdir(folder)).sort()).toEqual(['copy', 'source']);
    expect(await readdir(destination)).toEqual([]);
  });

  it('is refused into the source itself, and of what is not a folder', async () => {
    await mkdir(join(source, 'inner'));
    const error = copyDirectory(source, join(source, 'inner/copy'), { durable: false });
    await expect(error).rejects.toMatchObject({ kind: 'InvalidInput' });
    expect(await readdir(source, { recursive: true })).toEqual(['inner']);
    const file = await put('file');
    await expect(copyDirectory(file, destination, { durable: false })).rejects.toThrow(/file is not a directory/);
    await symlink('source', join(folder, 'link'));
    await expect(copyDirectory(join(folder, 'link'), destination, { durable: false })).rejects.toThrow(/link is not/);
    await expect(copyDirectory(join(folder, 'absent'), destination, { durable: false })).rejects.toThrow(/is gone/);
    expect((await readdir(folder)).sort()).toEqual(['link', 'source']);
  });
});
