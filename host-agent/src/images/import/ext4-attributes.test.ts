import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { askDebugfs } from '../debugfs.js';
import { parseInode } from '../debugfs-inode.js';
import { formatExt4, timeFor, validateExt4 } from '../ext4-disk.js';
import { readTar } from '../tar/read-tar.js';
import { fromText } from '../tar/byte-string.js';
import { tarOfTest } from '../testing/tar-of-test.js';
import { applyLayer } from './apply-layer.js';
import { ContentStore } from './content-store.js';
import { setExt4Attributes } from './ext4-attributes.js';
import { ImageTree } from './image-tree.js';
import { IMPORT_LIMITS, ImportBudget } from './import-limits.js';
import { layOutTree } from './lay-out-tree.js';
import type { TarEntry } from '../tar/read-tar.js';
import type { EntryOfTest } from '../testing/tar-of-test.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000 });

const TIME = 1_700_000_000;

let folder: string;
let disk: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-attributes-'));
  disk = join(folder, 'disk');
  for (const name of ['root', 'scratch dir', 'content']) await mkdir(join(folder, name));
});
afterEach(() => rm(folder, { recursive: true }));

async function write(entries: AsyncIterable<TarEntry>): Promise<void> {
  const tree = new ImageTree();
  const budget = await ImportBudget.open(IMPORT_LIMITS, folder);
  const store = new ContentStore(join(folder, 'content'), budget);
  await applyLayer(entries, tree, store, budget, { number: 1, whiteouts: false });
  const laidOut = await layOutTree(tree, join(folder, 'root'));
  const uuid = '6f666673-686f-8f74-8000-000000000001';
  await formatExt4(join(folder, 'root'), disk, { uuid, time: TIME, size: 512 * 2 ** 20 });
  const debugfs = { disk, scratch: join(folder, 'scratch dir'), env: timeFor(TIME) };
  await setExt4Attributes(debugfs, laidOut, TIME);
  await validateExt4(disk, [], debugfs.scratch);
}
const writeTar = (entries: readonly EntryOfTest[]) => write(readTar(Readable.from([tarOfTest(entries)])));
const ask = async (question: string): Promise<string> =>
  (await askDebugfs({ disk, scratch: folder }, [question], (answer) => answer))[0] ?? '';
const inode = async (path: string) => parseInode(await ask(`stat ${path}`));

describe('a disk made of a tar without being root', () => {
  it('has the owners, modes and times of the tar, also beyond 16 and 32 bits', async () => {
    await writeTar([
      { path: './', mode: 0o711, uid: 5, gid: 6, mtime: 77 },
      { path: 'su', content: 'x', mode: 0o6755, uid: 100_000, pax: { gid: '4000000000', mtime: '5000000000' } },
      { path: 'secret', content: 'x', mode: 0o000, uid: 1, gid: 2, mtime: 3 },
      { path: 'tmp/', mode: 0o1777 },
      { path: 'link', type: '2', target: '/su', uid: 9, gid: 10, mode: 0o777 },
    ]);
    expect(await inode('/')).toMatchObject({ mode: 0o711, uid: 5, gid: 6, mtime: 77 });
    expect(await inode('/su')).toMatchObject({ mode: 0o6755, uid: 100_000, gid: 4_000_000_000, mtime: 5_000_000_000 });
    expect(await inode('/secret')).toMatchObject({ mode: 0, uid: 1, gid: 2, mtime: 3 });
    expect(await inode('/tmp')).toMatchObject({ type: 'directory', mode: 0o1777 });
    expect(await inode('/link')).toMatchObject({ type: 'symlink', uid: 9, gid: 10 });
    expect(await ask('stat /link')).toContain('Fast link dest: "/su"');
  });

  it('has the devices and FIFOs of the tar, with all their names, whatever is in those', async () => {
    await writeTar([
      { path: 'dev/con "sole"', type: '3', major: 5, minor: 1, mode: 0o600, gid: 5 },
      { path: 'dev/disk', type: '4', major: 259, minor: 300, mode: 0o660 },
      { path: 'pipe', type: '6', mode: 0o620, uid: 3 },
      { path: 'again', type: '1', target: 'dev/disk' },
      { path: 'dev/third', type: '1', target: 'again' },
    ]);
    expect(await inode('"/dev/con ""sole"""')).toMatchObject({ type: 'character special', device: '5:1', mode: 0o600 });
    expect(await inode('/dev/disk')).toMatchObject({ type: 'block special', device: '259:300', links: 3 });
    expect(await ask('stat /again')).toBe((await ask('stat /dev/disk')).replace('/dev/disk', '/again'));
    expect(await inode('/pipe')).toMatchObject({ type: 'FIFO', mode: 0o620, uid: 3 });
  });

  it('has the extended attributes of the tar, to the byte', async () => {
    const capability = Buffer.from('0100000200e0ff800a00000000000000000000ff', 'hex');
    const pax = {
      'SCHILY.xattr.security.capability': capability.toString('latin1'),
      'SCHILY.xattr.user.empty': '',
      'SCHILY.xattr.user.long': 'v'.repeat(1000),
    };
    await writeTar([
      { path: 'ping', content: 'x', pax },
      { path: 'folder/', pax: { 'SCHILY.xattr.user.of': 'folder' } },
    ]);
    expect(await ask('ea_get -x /ping security.capability')).toContain(
      capability.toString('hex').replace(/../g, '$& '),
    );
    expect(await ask('ea_get /ping user.long')).toContain('v'.repeat(1000));
    expect(await ask('ea_get /folder user.of')).toContain('folder');
  });

  it('has access control lists', async () => {
    // Version 2; user::rw-, user:1000:r--, group::r--, mask::r--, other::---.
    const bytes = Buffer.from(
      '02000000' +
        '01000600ffffffff' +
        '02000400e8030000' +
        '04000400ffffffff' +
        '10000400ffffffff' +
        '20000000ffffffff',
      'hex',
    );
    await writeTar([
      { path: 'file', content: 'x', pax: { 'SCHILY.xattr.system.posix_acl_access': bytes.toString('latin1') } },
    ]);
    // As it is on the disk (ext4_acl_header): no ids but of that user.
    const onDisk = '01000000' + '01000600' + '02000400e8030000' + '04000400' + '10000400' + '20000000';
    expect(await ask('ea_get -r /file system.posix_acl_access')).toContain(onDisk.replace(/../g, '$& '));
  });

  it('has one inode for all names of a hard link, and names of any bytes', async () => {
    const name = fromText('ünï "x" \n');
    await writeTar([
      { path: 'one', content: 'same' },
      { path: 'two', type: '1', target: 'one' },
      { path: 'x', content: 'odd', pax: { path: name } },
      { path: 'y', content: 'not UTF-8', pax: { path: 'caf\xe9' } },
    ]);
    expect(await ask('stat /two')).toMatch(/Links: 2/);
    const { stdout } = await execa('debugfs', ['-R', 'ls -p /', disk], { encoding: 'buffer' });
    const listed = Buffer.from(stdout).toString('latin1');
    for (const each of [name, 'caf\xe9']) expect(listed).toContain(`/${each}/`);
  });

  it('has files of more than 2 GiB with their holes', async () => {
    await writeTar([
      {
        path: 'big',
        content: 'start' + 'end',
        pax: { 'GNU.sparse.map': '0,5,3221225469,3', 'GNU.sparse.size': '3221225472', 'GNU.sparse.name': 'big' },
      },
    ]);
    expect(await inode('/big')).toMatchObject({ size: 3_221_225_472 });
    const blocks = /Blockcount: (\d+)/.exec(await ask('stat /big'))?.[1];
    expect(Number(blocks) * 512).toBeLessThanOrEqual(8192);
    expect(await ask('block_dump -f /big 786431')).toContain('end');
  });

  it.each<[string, EntryOfTest, string]>([
    ['a device number it cannot have', { path: 'disk', type: '4', major: 9, minor: 70_000 }, 'IMAGE_CONTENT_INVALID'],
    ['a device with a line break in its name', { path: 'a\nb', type: '3' }, 'IMAGE_CONTENT_INVALID'],
    ['an attribute with a space in its name', { path: 'x', pax: { 'SCHILY.xattr.a b': '' } }, 'IMAGE_CONTENT_INVALID'],
    ['an attribute of no name space', { path: 'x', pax: { 'SCHILY.xattr.a': 'x' } }, 'IMAGE_CONTENT_INVALID'],
    [
      'an attribute it has no room for',
      { path: 'x', pax: { 'SCHILY.xattr.user.a': 'v'.repeat(9999) } },
      'DISK_INVALID',
    ],
  ])('is refused for %s', async (_, entry, reason) => {
    await expect(writeTar([entry])).rejects.toMatchObject({ reason });
  });
});
