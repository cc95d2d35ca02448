import { chmod, cp, link, mkdir, mkdtemp, open, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { OciLayoutOfTest } from '../testing/oci-layout-of-test.js';
import { tarOfTest } from '../testing/tar-of-test.js';
import { applyLayer } from './apply-layer.js';
import { ContentStore } from './content-store.js';
import { findSource } from './find-source.js';
import { ImageTree } from './image-tree.js';
import { IMPORT_LIMITS, ImportBudget } from './import-limits.js';
import type { ImportLimits } from './import-limits.js';
import type { RootSource } from './root-source.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000 });

const signal = new AbortController().signal;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-source-'));
});
afterEach(() => rm(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

const find = (source: string) => findSource(source, at('digests.json'), signal);
const identityOf = async (source: string): Promise<string> => (await find(source)).identity;

/** Everything that reading the source to its end leads to. */
async function read(source: string, limits: Partial<ImportLimits> = {}) {
  const found = await find(source);
  const scratch = await mkdtemp(at('scratch-'));
  const budget = await ImportBudget.open({ ...IMPORT_LIMITS, ...limits }, folder);
  const opened = await found.open({ scratch, budget, signal });
  const tree = new ImageTree();
  if ('disk' in opened) return { opened, tree, config: undefined };
  await put(opened, tree, budget);
  return { opened, tree, config: opened.config };
}

async function put({ layers }: RootSource, tree: ImageTree, budget: ImportBudget): Promise<void> {
  const store = new ContentStore(await mkdtemp(at('content-')), budget);
  for (const [index, { whiteouts, entries }] of layers.entries()) {
    const onBytes = (count: number): void => {
      budget.takeUnpacked(count);
    };
    await applyLayer(entries(onBytes, signal), tree, store, budget, { number: index + 1, whiteouts });
  }
}

const lower = tarOfTest([{ path: 'etc/' }, { path: 'etc/lower', content: 'lower' }]);
const upper = tarOfTest([{ path: 'etc/.wh.lower' }, { path: 'etc/upper', content: 'upper' }]);
const layout = (name = 'layout'): OciLayoutOfTest => new OciLayoutOfTest(at(name));
const goodLayout = (): OciLayoutOfTest =>
  layout()
    .addLayerTar(lower)
    .addLayerTar(upper)
    .finish({ Cmd: ['/run'] });

function expectLayers({ tree, config }: Awaited<ReturnType<typeof read>>): void {
  expect(tree.lookUp('etc/lower')).toBeUndefined();
  expect(tree.lookUp('etc/upper')).toMatchObject({ kind: 'file' });
  expect(config?.command).toEqual(['/run']);
}

const refusal = (reason: string, message = /./) => ({
  kind: 'InvalidInput',
  reason,
  message: expect.stringMatching(message) as string,
});

describe('an OCI layout', () => {
  it('is read as a directory and as an archive, plain and packed', async () => {
    const { path } = goodLayout();
    expectLayers(await read(path));
    await execa('tar', ['-cf', at('oci.tar'), '-C', path, '.']);
    for (const args of [['gzip'], ['zstd', '-q'], ['xz']])
      await execa(args[0]!, [...args.slice(1), '-k', at('oci.tar')]);
    for (const suffix of ['', '.gz', '.zst', '.xz']) expectLayers(await read(at(`oci.tar${suffix}`)));
  });

  it.each([
    ['application/vnd.oci.image.layer.v1.tar', (tar: Buffer) => Buffer.from(tar)],
    ['application/vnd.docker.image.rootfs.diff.tar.gzip', (tar: Buffer) => gzipSync(tar)],
    [
      'application/vnd.oci.image.layer.v1.tar+zstd',
      async (tar: Buffer) =>
        Buffer.from((await execa('zstd', ['-q', '-c'], { input: tar, encoding: 'buffer' })).stdout),
    ],
  ])('has layers of the type %s', async (mediaType, pack) => {
    const made = layout()
      .addLayerTar(lower)
      .addLayerTar(upper, { mediaType, blob: await pack(upper) });
    expectLayers(await read(made.finish({ Cmd: ['/run'] }).path));
  });

  it('is the same image by its manifest, wherever it is', async () => {
    const { path } = goodLayout();
    await cp(path, at('copy'), { recursive: true });
    expect(await identityOf(at('copy'))).toBe(await identityOf(path));
  });

  it('has several images, of which one is named', async () => {
    const made = layout()
      .addLayerTar(lower)
      .finish({ Cmd: ['/one'] }, { name: 'one' })
      .finish({ Cmd: ['/two'] }, { name: 'two' });
    expect((await read(`${made.path}:two`)).config?.command).toEqual(['/two']);
    await expect(read(made.path)).rejects.toMatchObject(refusal('IMAGE_LAYOUT_INVALID', /several images.*one, two/));
    await expect(read(`${made.path}:three`)).rejects.toMatchObject(
      refusal('IMAGE_LAYOUT_INVALID', /no image "three".*one, two/),
    );
  });

  it('has an index of platforms, of which this one is taken', async () => {
    const made = layout().addLayerTar(lower).finish({}, { architecture: 's390x', platform: 's390x' });
    await expect(read(made.path)).rejects.toMatchObject(refusal('IMAGE_PLATFORM_MISSING', /linux\/s390x/));
    made.finish({ Cmd: ['/run'] }, { platform: 'amd64' });
    const index = made.addBlob(
      JSON.stringify({ schemaVersion: 2, manifests: made.manifests }),
      'application/vnd.oci.image.index.v1+json',
    );
    made.manifests.splice(0, 2, index);
    expect((await read(made.writeIndex().path)).config?.command).toEqual(['/run']);
  });

  const damage = (change: (made: OciLayoutOfTest) => unknown) => async () => {
    const made = layout().addLayerTar(lower).addLayerTar(upper);
    await change(made);
    return made.manifests.length > 0 ? made.path : made.finish().path;
  };
  const layerPath = (made: OciLayoutOfTest): string => made.blobPath(made.layers[0]!.digest);
  it.each<[string, () => Promise<string>, string, RegExp?]>([
    ['a layer cut short', damage((made) => truncate(layerPath(made), 50)), 'IMAGE_DIGEST_MISMATCH', /has 50 bytes/],
    [
      'a layer of other bytes',
      damage((made) => writeFile(layerPath(made), Buffer.alloc(made.layers[0]!.size))),
      'IMAGE_DIGEST_MISMATCH',
      /instead of/,
    ],
    ['a layer that is absent', damage((made) => rm(layerPath(made))), 'IMAGE_LAYOUT_INVALID', /is missing/],
    [
      'a layer that is a link out of it',
      damage(async (made) => {
        await rm(layerPath(made));
        await symlink('/etc/passwd', layerPath(made));
      }),
      'IMAGE_LAYOUT_INVALID',
      /is missing/,
    ],
    [
      'a layer whose gzip is cut short',
      damage((made) => made.addLayerTar(lower, { blob: gzipSync(lower).subarray(0, 60) })),
      'IMAGE_LAYOUT_INVALID',
      /packed with gzip is damaged/,
    ],
    [
      'a layer that unpacks to something else',
      damage((made) => made.addLayerTar(lower, { blob: gzipSync(upper) })),
      'IMAGE_DIGEST_MISMATCH',
      /a layer, unpacked/,
    ],
    [
      'bytes behind the end of a layer',
      damage((made) => made.addLayerTar(lower, { blob: gzipSync(Buffer.concat([lower, Buffer.alloc(9, 1)])) })),
      'IMAGE_DIGEST_MISMATCH',
    ],
    [
      'a layer of an unknown type',
      damage((made) => made.addLayerTar(lower, { mediaType: 'application/vnd.wasm.content.layer.v1+wasm' })),
      'IMAGE_MEDIA_TYPE_UNKNOWN',
      /wasm/,
    ],
    [
      'a manifest of an unknown type',
      damage((made) => {
        made.finish();
        made.manifests[0]!.mediaType = 'text/plain';
        made.writeIndex();
      }),
      'IMAGE_MEDIA_TYPE_UNKNOWN',
      /text\/plain/,
    ],
    [
      'a manifest that says it is something else',
      damage((made) => {
        made.manifests.push(made.addBlob('{"mediaType":"a/b"}', 'application/vnd.oci.image.manifest.v1+json'));
        made.writeIndex();
      }),
      'IMAGE_MEDIA_TYPE_UNKNOWN',
      /a\/b/,
    ],
    [
      'a digest that is none',
      damage((made) => {
        made.finish();
        made.manifests[0]!.digest = 'sha256:../../../etc/passwd';
        made.writeIndex();
      }),
      'IMAGE_LAYOUT_INVALID',
      /no digest/,
    ],
    [
      'an index that is empty',
      damage((made) => {
        made.finish();
        made.manifests.length = 0;
        made.writeIndex();
        made.manifests.length = 1;
      }),
      'IMAGE_LAYOUT_INVALID',
      /index is empty/,
    ],
    [
      'an index that is no JSON',
      damage((made) => {
        made.finish();
        return writeFile(join(made.path, 'index.json'), '{');
      }),
      'IMAGE_LAYOUT_INVALID',
      /not written in JSON/,
    ],
    [
      'an index of nothing',
      damage((made) => {
        made.finish();
        return writeFile(join(made.path, 'index.json'), '{}');
      }),
      'IMAGE_LAYOUT_INVALID',
      /schemaVersion/,
    ],
    [
      'an index that is absent',
      damage((made) => {
        made.finish();
        return rm(join(made.path, 'index.json'));
      }),
      'IMAGE_LAYOUT_INVALID',
      /index\.json is missing/,
    ],
    [
      'a layout of another version',
      damage((made) => writeFile(join(made.path, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}')),
      'IMAGE_LAYOUT_INVALID',
      /oci-layout/,
    ],
    [
      'a layer without a digest of its content',
      damage((made) => made.diffIds.pop()),
      'IMAGE_LAYOUT_INVALID',
      /2 layers, its configuration 1/,
    ],
    [
      'an environment that is none',
      damage((made) => made.finish({ Env: ['=x'] })),
      'IMAGE_LAYOUT_INVALID',
      /NAME=VALUE/,
    ],
    [
      'a command that is no list',
      damage((made) => made.finish({ Cmd: '/run' })),
      'IMAGE_LAYOUT_INVALID',
      /config\.Cmd/,
    ],
  ])('is refused for %s', async (_, make, reason, message) => {
    await expect(make().then((path) => read(path))).rejects.toMatchObject(refusal(reason, message));
  });

  it('is refused when it unpacks to more than the limit, long before all of it is unpacked', async () => {
    const bomb = tarOfTest([{ path: 'zeros', content: Buffer.alloc(64 * 2 ** 20) }]);
    const made = layout().addLayerTar(bomb).finish();
    await expect(read(made.path, { unpackedBytes: 2 ** 20 })).rejects.toMatchObject(refusal('IMAGE_TOO_LARGE'));
    await writeFile(at('bomb.tar.gz'), gzipSync(bomb));
    await expect(read(at('bomb.tar.gz'), { unpackedBytes: 2 ** 20 })).rejects.toMatchObject(refusal('IMAGE_TOO_LARGE'));
  });
});

describe('an archive of docker save', () => {
  /** As Docker before 25 wrote it. */
  async function archive(change: (files: Map<string, Buffer | string>) => void = () => undefined): Promise<string> {
    const made = goodLayout();
    const json = made.read(
      (JSON.parse(made.read(made.manifests[0]!.digest).toString()) as { config: { digest: string } }).config.digest,
    );
    const { createHash } = await import('node:crypto');
    const config = `${createHash('sha256').update(json).digest('hex')}.json`;
    const files = new Map<string, Buffer | string>([
      [config, json],
      ['aaa/layer.tar', lower],
      [
        'manifest.json',
        JSON.stringify([{ Config: config, RepoTags: ['app:1'], Layers: ['aaa/layer.tar', 'bbb/layer.tar'] }]),
      ],
    ]);
    change(files);
    const entries = [...files].map(([path, content]) => ({ path, content }));
    await writeFile(at('saved'), upper);
    await writeFile(
      at('saved.tar'),
      tarOfTest([
        ...entries,
        { path: 'ccc/layer.tar', content: upper },
        { path: 'bbb/layer.tar', type: '2', target: '../ccc/layer.tar' },
      ]),
    );
    return at('saved.tar');
  }

  it('is read, links between its layers followed', async () => {
    const path = await archive();
    expectLayers(await read(path));
    expectLayers(await read(`${path}:app:1`));
  });

  it.each<[string, (files: Map<string, Buffer | string>) => void, string, RegExp]>([
    [
      'a name that it has not',
      (files) =>
        files.set(
          'manifest.json',
          JSON.stringify([
            { Config: 'x', RepoTags: ['b:1'], Layers: [] },
            { Config: 'y', Layers: [] },
          ]),
        ),
      'IMAGE_LAYOUT_INVALID',
      /several images.*b:1, y/,
    ],
    ['a layer that is absent', (files) => files.delete('aaa/layer.tar'), 'IMAGE_LAYOUT_INVALID', /aaa\/layer\.tar/],
    ['a layer of other content', (files) => files.set('aaa/layer.tar', upper), 'IMAGE_DIGEST_MISMATCH', /a layer/],
    ['a layer that is no tar', (files) => files.set('aaa/layer.tar', 'none'), 'TAR_MALFORMED', /cut short/],
    [
      'a configuration of other content',
      (files) => files.set([...files.keys()][0]!, '{}'),
      'IMAGE_DIGEST_MISMATCH',
      /the configuration/,
    ],
    ['an index that is none', (files) => files.set('manifest.json', '[]'), 'IMAGE_LAYOUT_INVALID', /manifest\.json/],
  ])('is refused for %s', async (_, change, reason, message) => {
    await expect(archive(change).then((path) => read(path))).rejects.toMatchObject({
      reason,
      message: expect.stringMatching(message) as string,
    });
  });
});

describe('a root file system', () => {
  async function makeRoot(): Promise<string> {
    await mkdir(at('root/etc'), { recursive: true });
    await writeFile(at('root/etc/upper'), 'upper');
    await link(at('root/etc/upper'), at('root/etc/same'));
    await writeFile(at('root/.wh.etc'), 'a name like others');
    await chmod(at('root/etc'), 0o711);
    {
      await using file = await open(at('root/holes'), 'w');
      await file.write('end', 1_000_000_000);
    }
    return at('root');
  }

  it('is read from a directory with its modes, hard links and holes', async () => {
    const { tree } = await read(await makeRoot());
    expect(tree.lookUp('etc')).toMatchObject({ kind: 'directory', attributes: { mode: 0o711 } });
    expect(tree.lookUp('etc/same')).toBe(tree.lookUp('etc/upper'));
    expect(tree.lookUp('holes')).toMatchObject({ kind: 'file', bytes: expect.closeTo(2048, -4) as number });
    expect(tree.lookUp('.wh.etc')).toBeDefined();
  });

  it('in a directory is the same for the same content, and another for another', async () => {
    const root = await makeRoot();
    const identity = await identityOf(root);
    expect(await identityOf(root)).toBe(identity);
    await chmod(join(root, 'etc/upper'), 0o600);
    expect(await identityOf(root)).not.toBe(identity);
  });

  it('in a directory is refused when it changes while it is imported', async () => {
    const root = await makeRoot();
    const found = await find(root);
    await writeFile(join(root, 'etc/late'), '');
    const budget = await ImportBudget.open(IMPORT_LIMITS, folder);
    const opened = (await found.open({ scratch: folder, budget, signal })) as RootSource;
    await expect(put(opened, new ImageTree(), budget)).rejects.toMatchObject({ reason: 'IMAGE_SOURCE_CHANGED' });
  });

  it('is read from a tar, and refused when that changes while it is imported', async () => {
    await writeFile(at('root.tar'), lower);
    const { tree } = await read(at('root.tar'));
    expect(tree.lookUp('etc/lower')).toMatchObject({ kind: 'file' });
    const found = await find(at('root.tar'));
    await writeFile(at('root.tar'), upper);
    const budget = await ImportBudget.open(IMPORT_LIMITS, folder);
    await expect(found.open({ scratch: folder, budget, signal })).rejects.toMatchObject({
      reason: 'IMAGE_SOURCE_CHANGED',
    });
    await expect(read(`${at('root.tar')}:name`)).rejects.toMatchObject(refusal('IMAGE_SOURCE_UNKNOWN'));
  });

  it('in an ext4 disk is copied, packed or not', async () => {
    await execa('mkfs.ext4', ['-q', '-F', at('disk'), '8M']);
    await execa('zstd', ['-q', '-k', at('disk')]);
    for (const path of [at('disk'), at('disk.zst')]) {
      const { opened } = await read(path);
      const copy = 'disk' in opened ? opened.disk : '';
      expect((await readFile(copy)).equals(await readFile(at('disk')))).toBe(true);
    }
  });
});

describe('a source', () => {
  it.each<[string, string, string]>([
    ['that is a relative path', 'images/x', 'IMAGE_SOURCE_UNKNOWN'],
    ['that is empty text', '', 'IMAGE_SOURCE_UNKNOWN'],
    ['that is a device', '/dev/null', 'IMAGE_SOURCE_UNKNOWN'],
    ['that is not there', '/nonexistent/image.tar', 'IMAGE_SOURCE_MISSING'],
    ['that is no reference', 'docker://UPPER CASE', 'IMAGE_SOURCE_UNKNOWN'],
    ['that is an option', 'docker://--help', 'IMAGE_SOURCE_UNKNOWN'],
  ])('%s is refused', async (_, source, reason) => {
    await expect(find(source)).rejects.toMatchObject({ reason });
  });

  it.each<[string, Buffer]>([
    ['text', Buffer.from('#!/bin/sh\n'.repeat(500))],
    ['empty', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(10_240)],
    ['a packed text', gzipSync(Buffer.from('text'.repeat(1000)))],
  ])('that is a file of %s is refused', async (_, content) => {
    await writeFile(at('file'), content);
    await expect(read(at('file'))).rejects.toMatchObject(refusal('IMAGE_SOURCE_UNKNOWN', /neither a tar/));
  });
});
