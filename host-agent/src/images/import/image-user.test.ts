import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImageTree } from './image-tree.js';
import { findUser } from './image-user.js';

const PASSWD =
  'root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1001:,,,:/home/worker:/bin/sh\n1000x:x:7:7::/seven:/bin/sh\n';
const GROUP = 'root:x:0:\nworker:x:1001:\nvideo:x:44:root,worker\naudio:x:29:workers\nbroken\nodd:x:none:worker\n';
const attributes = { mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: new Map<string, Buffer>() };

let folder: string;
let tree: ImageTree;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-user-'));
  tree = new ImageTree();
  await place('etc/passwd', PASSWD);
  await place('etc/group', GROUP);
});
afterEach(() => rm(folder, { recursive: true }));

async function place(path: string, text: string): Promise<void> {
  const content = join(folder, path.replaceAll('/', '-'));
  await writeFile(content, text);
  tree.place(path, { kind: 'file', attributes, content, bytes: text.length }, 1);
}

describe('the user of an image', () => {
  it.each([
    ['', { uid: 0, gid: 0, groups: [44], home: '/root' }],
    ['worker', { uid: 1000, gid: 1001, groups: [44], home: '/home/worker' }],
    ['1000', { uid: 1000, gid: 1001, groups: [44], home: '/home/worker' }],
    ['worker:video', { uid: 1000, gid: 44, groups: [], home: '/home/worker' }],
    ['worker:', { uid: 1000, gid: 1001, groups: [44], home: '/home/worker' }],
    ['1000:5000', { uid: 1000, gid: 5000, groups: [], home: '/home/worker' }],
    ['4242', { uid: 4242, gid: 0, groups: [], home: '/' }],
    ['4242:worker', { uid: 4242, gid: 1001, groups: [], home: '/' }],
  ])('called %o is found', async (text, user) => {
    expect(await findUser(tree, text)).toEqual(user);
  });

  it('is found through a link, and is a number where there is no file', async () => {
    await place('usr/share/passwd', 'linked:x:5:6::/linked:/bin/sh\n');
    tree.place('etc/passwd', { kind: 'symlink', attributes, target: '../usr/share/passwd' }, 2);
    expect(await findUser(tree, 'linked')).toMatchObject({ uid: 5, gid: 6, home: '/linked' });
    expect(await findUser(new ImageTree(), '5:6')).toEqual({ uid: 5, gid: 6, groups: [], home: '/' });
    expect(await findUser(new ImageTree(), '')).toEqual({ uid: 0, gid: 0, groups: [], home: '/' });
  });

  it.each(['stranger', 'worker:strangers', '99999999999', '-1', '4294967295'])('called %o is refused', async (text) => {
    await expect(findUser(tree, text)).rejects.toMatchObject({ reason: 'IMAGE_CONTENT_INVALID' });
  });
});
