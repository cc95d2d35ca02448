import { chmod, link, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SourceLab } from '../testing/source-lab.js';
import type { RootSource } from './root-source.js';

let lab: SourceLab;
beforeEach(async () => {
  lab = await SourceLab.open();
});
afterEach(() => lab[Symbol.asyncDispose]());

describe('a directory with a root file system', () => {
  async function makeRoot(): Promise<string> {
    await mkdir(lab.at('root/etc'), { recursive: true });
    await writeFile(lab.at('root/etc/upper'), 'upper');
    await link(lab.at('root/etc/upper'), lab.at('root/etc/same'));
    await writeFile(lab.at('root/.wh.etc'), 'a name like others');
    await chmod(lab.at('root/etc'), 0o711);
    {
      await using file = await open(lab.at('root/holes'), 'w');
      await file.write('end', 1_000_000_000);
    }
    return lab.at('root');
  }

  it('is read with its modes, hard links and holes', async () => {
    const { tree } = await lab.read(await makeRoot());
    expect(tree.lookUp('etc')).toMatchObject({ kind: 'directory', attributes: { mode: 0o711 } });
    expect(tree.lookUp('etc/same')).toBe(tree.lookUp('etc/upper'));
    expect(tree.lookUp('holes')).toMatchObject({ kind: 'file', bytes: expect.closeTo(2048, -4) as number });
    expect(tree.lookUp('.wh.etc')).toBeDefined();
  });

  it('is the same for the same content, and another for another', async () => {
    const root = await makeRoot();
    const identity = await lab.identityOf(root);
    expect(await lab.identityOf(root)).toBe(identity);
    await chmod(join(root, 'etc/upper'), 0o600);
    expect(await lab.identityOf(root)).not.toBe(identity);
  });

  it('is refused when it changes while it is imported', async () => {
    const root = await makeRoot();
    const found = await lab.find(root);
    await writeFile(join(root, 'etc/late'), '');
    const budget = await lab.budget();
    const opened = (await lab.openFound(found, budget)) as RootSource;
    await expect(lab.apply(opened, budget)).rejects.toMatchObject({ reason: 'IMAGE_SOURCE_CHANGED' });
  });
});
