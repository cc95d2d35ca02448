import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LOWER, SourceLab, UPPER, expectLayers } from '../testing/source-lab.js';
import { tarOfTest } from '../testing/tar-of-test.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000 });

let lab: SourceLab;
beforeEach(async () => {
  lab = await SourceLab.open();
});
afterEach(() => lab[Symbol.asyncDispose]());

describe('an archive of docker save', () => {
  /** As Docker before 25 wrote it. */
  async function archive(change: (files: Map<string, Buffer | string>) => void = () => undefined): Promise<string> {
    const made = lab.goodLayout();
    const json = made.read(
      (JSON.parse(made.read(made.manifests[0]!.digest).toString()) as { config: { digest: string } }).config.digest,
    );
    const config = `${createHash('sha256').update(json).digest('hex')}.json`;
    const files = new Map<string, Buffer | string>([
      [config, json],
      ['aaa/layer.tar', LOWER],
      [
        'manifest.json',
        JSON.stringify([{ Config: config, RepoTags: ['app:1'], Layers: ['aaa/layer.tar', 'bbb/layer.tar'] }]),
      ],
    ]);
    change(files);
    const entries = [...files].map(([path, content]) => ({ path, content }));
    await writeFile(
      lab.at('saved.tar'),
      tarOfTest([
        ...entries,
        { path: 'ccc/layer.tar', content: UPPER },
        { path: 'bbb/layer.tar', type: '2', target: '../ccc/layer.tar' },
      ]),
    );
    return lab.at('saved.tar');
  }

  it('is read, links between its layers followed', async () => {
    const path = await archive();
    expectLayers(await lab.read(path));
    expectLayers(await lab.read(`${path}:app:1`));
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
    ['a layer of other content', (files) => files.set('aaa/layer.tar', UPPER), 'IMAGE_DIGEST_MISMATCH', /a layer/],
    ['a layer that is no tar', (files) => files.set('aaa/layer.tar', 'none'), 'TAR_MALFORMED', /cut short/],
    [
      'a configuration of other content',
      (files) => files.set([...files.keys()][0]!, '{}'),
      'IMAGE_DIGEST_MISMATCH',
      /the configuration/,
    ],
    ['an index that is none', (files) => files.set('manifest.json', '[]'), 'IMAGE_LAYOUT_INVALID', /manifest\.json/],
  ])('is refused for %s', async (_, change, reason, message) => {
    await expect(archive(change).then((path) => lab.read(path))).rejects.toMatchObject({
      reason,
      message: expect.stringMatching(message) as string,
    });
  });
});
