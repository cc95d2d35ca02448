import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readTar } from '../tar/read-tar.js';
import { tarOfTest } from '../testing/tar-of-test.js';
import { applyLayer } from './apply-layer.js';
import { ContentStore } from './content-store.js';
import { ImageTree } from './image-tree.js';
import { IMPORT_LIMITS, ImportBudget } from './import-limits.js';
import type { EntryOfTest } from '../testing/tar-of-test.js';
import type { DirectoryNode } from './image-tree.js';
import type { ImportLimits } from './import-limits.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000 });

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-layers-'));
});
afterEach(() => rm(folder, { recursive: true }));

interface Options {
  readonly whiteouts?: boolean;
  readonly limits?: Partial<ImportLimits>;
}

async function apply(layers: readonly (readonly EntryOfTest[])[], options: Options = {}): Promise<ImageTree> {
  const tree = new ImageTree();
  const budget = await ImportBudget.open({ ...IMPORT_LIMITS, ...options.limits }, folder);
  const store = new ContentStore(await mkdtemp(join(folder, 'content-')), budget);
  for (const [index, layer] of layers.entries())
    await applyLayer(readTar(Readable.from([tarOfTest(layer)])), tree, store, budget, {
      number: index + 1,
      whiteouts: options.whiteouts ?? true,
    });
  return tree;
}

/** Every path with what is there: a file's content, a link's target, else the kind. */
async function shownTree(folderNode: DirectoryNode, prefix = ''): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for (const [name, { node }] of folderNode.children) {
    const path = `${prefix}${name}`;
    if (node.kind === 'directory') Object.assign(all, { [path]: 'folder' }, await shownTree(node, `${path}/`));
    else if (node.kind === 'file') all[path] = `"${await readFile(node.content, 'utf8')}"`;
    else all[path] = node.kind === 'symlink' ? `-> ${node.target}` : node.kind;
  }
  return all;
}
const shown = async (...layers: readonly (readonly EntryOfTest[])[]) => shownTree((await apply(layers)).root);

const lower: readonly EntryOfTest[] = [
  { path: 'a/' },
  { path: 'a/one', content: '1' },
  { path: 'a/deep/' },
  { path: 'a/deep/two', content: '2' },
  { path: 'b', content: 'b' },
];

describe('layers over each other', () => {
  it('add, replace and keep', async () => {
    expect(
      await shown(lower, [
        { path: 'a/one', content: 'new' },
        { path: './c//d', content: 'made' },
      ]),
    ).toEqual({
      a: 'folder',
      'a/one': '"new"',
      'a/deep': 'folder',
      'a/deep/two': '"2"',
      b: '"b"',
      c: 'folder',
      'c/d': '"made"',
    });
  });

  it('take away a file or a folder by a whiteout', async () => {
    expect(await shown(lower, [{ path: '.wh.b' }, { path: 'a/.wh.deep' }])).toEqual({ a: 'folder', 'a/one': '"1"' });
  });

  it('take away all below an opaque folder, wherever in the layer that is said, but nothing of the layer itself', async () => {
    const added = [{ path: 'a/deep/' }, { path: 'a/deep/three', content: '3' }];
    const expected = { a: 'folder', 'a/deep': 'folder', 'a/deep/three': '"3"', b: '"b"' };
    expect(await shown(lower, [{ path: 'a/.wh..wh..opq' }, ...added])).toEqual(expected);
    expect(await shown(lower, [...added, { path: 'a/.wh..wh..opq' }])).toEqual(expected);
  });

  it('take away only what is below, not what the same layer has', async () => {
    expect(await shown(lower, [{ path: 'b', content: 'again' }, { path: '.wh.b' }])).toMatchObject({ b: '"again"' });
  });

  it('bring back what a layer between took away', async () => {
    expect(await shown(lower, [{ path: '.wh.a' }], [{ path: 'a/one', content: '3' }])).toEqual({
      a: 'folder',
      'a/one': '"3"',
      b: '"b"',
    });
  });

  it('say nothing by whiteouts of what is not there, and of what aufs left', async () => {
    expect(await shown(lower, [{ path: '.wh.none' }, { path: 'x/y/.wh.z' }, { path: '.wh..wh.aufs' }])).toEqual(
      await shown(lower),
    );
  });

  it('replace a folder by a file with all that was in it, and a file by a folder', async () => {
    expect(await shown(lower, [{ path: 'a', content: 'file' }, { path: 'b/' }])).toEqual({ a: '"file"', b: 'folder' });
  });

  it('write through links that stay inside, and replace a link by what has its name', async () => {
    const links = [
      { path: 'usr/lib/' },
      { path: 'lib', type: '2', target: 'usr/lib' },
      { path: 'lib64', type: '2', target: '/usr/../usr/lib' },
      { path: 'usr/own', type: '2', target: '../a' },
    ];
    expect(
      await shown(links, [
        { path: 'lib/x', content: 'x' },
        { path: 'lib64/y', content: 'y' },
        { path: 'usr/own', content: 'own' },
      ]),
    ).toMatchObject({ lib: '-> usr/lib', 'usr/lib/x': '"x"', 'usr/lib/y': '"y"', 'usr/own': '"own"' });
  });

  it('share an inode between the names of a hard link until one of them gets another', async () => {
    const tree = await apply([
      [
        { path: 'one', content: 'same' },
        { path: 'two', type: '1', target: './one' },
        { path: 'three', type: '1', target: 'one' },
      ],
      [{ path: 'one', content: 'other' }],
    ]);
    expect(tree.lookUp('two')).toBe(tree.lookUp('three'));
    expect(await shownTree(tree.root)).toEqual({ one: '"other"', two: '"same"', three: '"same"' });
  });

  it('keep the last of several entries of one name, and names that differ in case', async () => {
    expect(
      await shown([
        { path: 'README', content: 'upper' },
        { path: 'readme', content: 'first' },
        { path: './readme', content: 'last' },
      ]),
    ).toEqual({ README: '"upper"', readme: '"last"' });
  });

  it('have names like whiteouts where they are no layers but a tar', async () => {
    const tree = await apply([[{ path: '.wh.name', content: 'kept' }]], { whiteouts: false });
    expect(await shownTree(tree.root)).toEqual({ '.wh.name': '"kept"' });
  });

  it('keep holes as holes', async () => {
    const content = Buffer.alloc(4 * 2 ** 20);
    content.write('end', content.length - 3);
    const tree = await apply([[{ path: 'zeros', content }]]);
    const node = tree.lookUp('zeros');
    expect(node).toMatchObject({ kind: 'file', bytes: 4096 });
    const path = node?.kind === 'file' ? node.content : '';
    expect((await readFile(path)).equals(content)).toBe(true);
    expect((await stat(path)).blocks * 512).toBeLessThan(2 ** 20);
  });
});

describe('a layer is refused', () => {
  const long = 'n'.repeat(256);
  it.each<[string, readonly EntryOfTest[], string]>([
    ['with a path that climbs', [{ path: '../outside' }], 'IMAGE_PATH_UNSAFE'],
    ['with a path that climbs later', [{ path: 'a/../../outside' }], 'IMAGE_PATH_UNSAFE'],
    ['with an absolute path', [{ path: '/etc/passwd' }], 'IMAGE_PATH_UNSAFE'],
    ['with a link that climbs out', [{ path: 'a/link', type: '2', target: '../../etc' }], 'IMAGE_PATH_UNSAFE'],
    ['with an absolute link that climbs out', [{ path: 'link', type: '2', target: '/../etc' }], 'IMAGE_PATH_UNSAFE'],
    ['with an empty link', [{ path: 'link', type: '2' }], 'IMAGE_PATH_UNSAFE'],
    ['with a hard link out of it', [{ path: 'link', type: '1', target: '../../etc/shadow' }], 'IMAGE_PATH_UNSAFE'],
    ['with an absolute hard link', [{ path: 'link', type: '1', target: '/etc/shadow' }], 'IMAGE_PATH_UNSAFE'],
    ['with a hard link to nothing', [{ path: 'link', type: '1', target: 'none' }], 'IMAGE_CONTENT_INVALID'],
    ['with a hard link to a folder', [{ path: 'a/' }, { path: 'b', type: '1', target: 'a' }], 'IMAGE_CONTENT_INVALID'],
    ['with a file in a file', [{ path: 'a' }, { path: 'a/b' }], 'IMAGE_CONTENT_INVALID'],
    [
      'with a root that is a file',
      [{ path: './', type: '0' }].map((e) => ({ ...e, path: '.' })),
      'IMAGE_CONTENT_INVALID',
    ],
    ['with a name too long', [{ path: 'x', pax: { path: long } }], 'IMAGE_PATH_UNSAFE'],
    ['with a path too long', [{ path: 'x', pax: { path: 'd/'.repeat(2000) } }], 'IMAGE_PATH_UNSAFE'],
    ['with a NUL in a name', [{ path: 'x', pax: { path: 'a\0b' } }], 'IMAGE_PATH_UNSAFE'],
    ['with a user no system has', [{ path: 'x', pax: { uid: '4294967295' } }], 'IMAGE_CONTENT_INVALID'],
    ['with a whiteout of nothing', [{ path: 'a/.wh.' }], 'IMAGE_LAYOUT_INVALID'],
    ['with a whiteout of the folder above', [{ path: 'a/.wh...' }], 'IMAGE_LAYOUT_INVALID'],
    [
      'with links in a circle',
      [{ path: 'a', type: '2', target: 'b' }, { path: 'b', type: '2', target: 'a' }, { path: 'a/file' }],
      'IMAGE_PATH_UNSAFE',
    ],
  ])('%s', async (_, layer, reason) => {
    await expect(apply([layer])).rejects.toMatchObject({ kind: 'InvalidInput', reason });
  });

  it('with more entries than the limit, and with names of more bytes', async () => {
    const layer = Array.from({ length: 20 }, (_, index) => ({ path: `file-${String(index)}` }));
    await expect(apply([layer], { limits: { entries: 19 } })).rejects.toMatchObject({ reason: 'IMAGE_TOO_LARGE' });
    await expect(apply([layer], { limits: { namesBytes: 50 } })).rejects.toMatchObject({ reason: 'IMAGE_TOO_LARGE' });
    await apply([layer], { limits: { entries: 20 } });
  });

  it('with content that would leave the host’s disk without room', async () => {
    const budget = await ImportBudget.open(IMPORT_LIMITS, folder);
    expect(() => {
      budget.assertRoom(2 ** 50);
    }).toThrow(expect.objectContaining({ kind: 'Capacity', reason: 'DISK_FULL' }) as Error);
  });
});
