import { cp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { OciLayoutOfTest } from '../testing/oci-layout-of-test.js';
import { LOWER, SourceLab, UPPER, expectLayers, refusal } from '../testing/source-lab.js';
import { tarOfTest } from '../testing/tar-of-test.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000 });

let lab: SourceLab;
beforeEach(async () => {
  lab = await SourceLab.open();
});
afterEach(() => lab[Symbol.asyncDispose]());

describe('an OCI layout', () => {
  it('is read as a directory and as an archive, plain and packed', async () => {
    const { path } = lab.goodLayout();
    expectLayers(await lab.read(path));
    await execa('tar', ['-cf', lab.at('oci.tar'), '-C', path, '.']);
    for (const args of [['gzip'], ['zstd', '-q'], ['xz']])
      await execa(args[0]!, [...args.slice(1), '-k', lab.at('oci.tar')]);
    for (const suffix of ['', '.gz', '.zst', '.xz']) expectLayers(await lab.read(lab.at(`oci.tar${suffix}`)));
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
    const made = lab
      .layout()
      .addLayerTar(LOWER)
      .addLayerTar(UPPER, { mediaType, blob: await pack(UPPER) });
    expectLayers(await lab.read(made.finish({ Cmd: ['/run'] }).path));
  });

  it('is the same image by its manifest, wherever it is', async () => {
    const { path } = lab.goodLayout();
    await cp(path, lab.at('copy'), { recursive: true });
    expect(await lab.identityOf(lab.at('copy'))).toBe(await lab.identityOf(path));
  });

  it('has several images, of which one is named', async () => {
    const made = lab
      .layout()
      .addLayerTar(LOWER)
      .finish({ Cmd: ['/one'] }, { name: 'one' })
      .finish({ Cmd: ['/two'] }, { name: 'two' });
    expect((await lab.read(`${made.path}:two`)).config?.command).toEqual(['/two']);
    await expect(lab.read(made.path)).rejects.toMatchObject(
      refusal('IMAGE_LAYOUT_INVALID', /several images.*one, two/),
    );
    await expect(lab.read(`${made.path}:three`)).rejects.toMatchObject(
      refusal('IMAGE_LAYOUT_INVALID', /no image "three".*one, two/),
    );
  });

  it('has an index of platforms, of which this one is taken', async () => {
    const made = lab.layout().addLayerTar(LOWER).finish({}, { architecture: 's390x', platform: 's390x' });
    await expect(lab.read(made.path)).rejects.toMatchObject(refusal('IMAGE_PLATFORM_MISSING', /linux\/s390x/));
    made.finish({ Cmd: ['/run'] }, { platform: 'amd64' });
    const index = made.addBlob(
      JSON.stringify({ schemaVersion: 2, manifests: made.manifests }),
      'application/vnd.oci.image.index.v1+json',
    );
    made.manifests.splice(0, 2, index);
    expect((await lab.read(made.writeIndex().path)).config?.command).toEqual(['/run']);
  });

  const damage = (change: (made: OciLayoutOfTest) => unknown) => async () => {
    const made = lab.layout().addLayerTar(LOWER).addLayerTar(UPPER);
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
      damage((made) => made.addLayerTar(LOWER, { blob: gzipSync(LOWER).subarray(0, 60) })),
      'IMAGE_LAYOUT_INVALID',
      /packed with gzip is damaged/,
    ],
    [
      'a layer that unpacks to something else',
      damage((made) => made.addLayerTar(LOWER, { blob: gzipSync(UPPER) })),
      'IMAGE_DIGEST_MISMATCH',
      /a layer, unpacked/,
    ],
    [
      'bytes behind the end of a layer',
      damage((made) => made.addLayerTar(LOWER, { blob: gzipSync(Buffer.concat([LOWER, Buffer.alloc(9, 1)])) })),
      'IMAGE_DIGEST_MISMATCH',
    ],
    [
      'a layer of an unknown type',
      damage((made) => made.addLayerTar(LOWER, { mediaType: 'application/vnd.wasm.content.layer.v1+wasm' })),
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
    await expect(make().then((path) => lab.read(path))).rejects.toMatchObject(refusal(reason, message));
  });

  it('is refused when it unpacks to more than the limit, long before all of it is unpacked', async () => {
    const bomb = tarOfTest([{ path: 'zeros', content: Buffer.alloc(64 * 2 ** 20) }]);
    const made = lab.layout().addLayerTar(bomb).finish();
    await expect(lab.read(made.path, { unpackedBytes: 2 ** 20 })).rejects.toMatchObject(refusal('IMAGE_TOO_LARGE'));
    await writeFile(lab.at('bomb.tar.gz'), gzipSync(bomb));
    await expect(lab.read(lab.at('bomb.tar.gz'), { unpackedBytes: 2 ** 20 })).rejects.toMatchObject(
      refusal('IMAGE_TOO_LARGE'),
    );
  });
});
