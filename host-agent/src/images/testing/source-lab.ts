import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { applyLayer } from '../import/apply-layer.js';
import { ContentStore } from '../import/content-store.js';
import { findSource } from '../import/find-source.js';
import { ImageTree } from '../import/image-tree.js';
import { IMPORT_LIMITS, ImportBudget, type ImportLimits } from '../import/import-limits.js';
import type { ImageSource } from '../import/image-source.js';
import type { RootSource } from '../import/root-source.js';
import { OciLayoutOfTest } from './oci-layout-of-test.js';
import { tarOfTest } from './tar-of-test.js';

const signal = new AbortController().signal;

/** Two layers, of which the upper one takes a file of the lower one away. */
export const LOWER = tarOfTest([{ path: 'etc/' }, { path: 'etc/lower', content: 'lower' }]);
export const UPPER = tarOfTest([{ path: 'etc/.wh.lower' }, { path: 'etc/upper', content: 'upper' }]);

/** What reading a source to its end led to. */
export interface ReadSource {
  readonly opened: Awaited<ReturnType<ImageSource['open']>>;
  readonly tree: ImageTree;
  readonly config: RootSource['config'] | undefined;
}

/** A folder in which sources of images are made, and read as an import reads them. */
export class SourceLab implements AsyncDisposable {
  private constructor(readonly folder: string) {}

  static open = async (): Promise<SourceLab> => new SourceLab(await mkdtemp(join(tmpdir(), 'offshoot-source-')));

  at = (name: string): string => join(this.folder, name);

  find = (source: string): Promise<ImageSource> => findSource(source, this.at('digests.json'), signal);

  identityOf = async (source: string): Promise<string> => (await this.find(source)).identity;

  /** What one import may take, in which {@link openFound} and {@link apply} share. */
  budget = (limits: Partial<ImportLimits> = {}): Promise<ImportBudget> =>
    ImportBudget.open({ ...IMPORT_LIMITS, ...limits }, this.folder);

  /** Everything that reading the source to its end leads to. */
  async read(source: string, limits: Partial<ImportLimits> = {}): Promise<ReadSource> {
    const budget = await this.budget(limits);
    const opened = await this.openFound(await this.find(source), budget);
    if ('disk' in opened) return { opened, tree: new ImageTree(), config: undefined };
    return { opened, tree: await this.apply(opened, budget), config: opened.config };
  }

  async openFound(found: ImageSource, budget: ImportBudget): Promise<ReadSource['opened']> {
    return found.open({ scratch: await mkdtemp(this.at('scratch-')), budget, signal });
  }

  /** Puts the layers over each other. */
  async apply({ layers }: RootSource, budget: ImportBudget): Promise<ImageTree> {
    const tree = new ImageTree();
    const store = new ContentStore(await mkdtemp(this.at('content-')), budget);
    for (const [index, { whiteouts, entries }] of layers.entries()) {
      const onBytes = (count: number): void => {
        budget.takeUnpacked(count);
      };
      await applyLayer(entries(onBytes, signal), tree, store, budget, { number: index + 1, whiteouts });
    }
    return tree;
  }

  layout = (): OciLayoutOfTest => new OciLayoutOfTest(this.at('layout'));

  /** Of both layers, with the command `/run`. */
  goodLayout = (): OciLayoutOfTest =>
    this.layout()
      .addLayerTar(LOWER)
      .addLayerTar(UPPER)
      .finish({ Cmd: ['/run'] });

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true });
  }
}

/** That a source was {@link SourceLab.goodLayout}'s content. */
export function expectLayers({ tree, config }: ReadSource): void {
  expect(tree.lookUp('etc/lower')).toBeUndefined();
  expect(tree.lookUp('etc/upper')).toMatchObject({ kind: 'file' });
  expect(config?.command).toEqual(['/run']);
}

/** What a source is refused with. */
export const refusal = (reason: string, message = /./): object => ({
  kind: 'InvalidInput',
  reason,
  message: expect.stringMatching(message) as string,
});
