import { readFile, writeFile } from 'node:fs/promises';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LOWER, SourceLab, UPPER, refusal } from '../testing/source-lab.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000 });

let lab: SourceLab;
beforeEach(async () => {
  lab = await SourceLab.open();
});
afterEach(() => lab[Symbol.asyncDispose]());

describe('a file', () => {
  it('with a tar is read, and refused when that changes while it is imported', async () => {
    await writeFile(lab.at('root.tar'), LOWER);
    const { tree } = await lab.read(lab.at('root.tar'));
    expect(tree.lookUp('etc/lower')).toMatchObject({ kind: 'file' });
    const found = await lab.find(lab.at('root.tar'));
    await writeFile(lab.at('root.tar'), UPPER);
    await expect(lab.openFound(found, await lab.budget())).rejects.toMatchObject({
      reason: 'IMAGE_SOURCE_CHANGED',
    });
    await expect(lab.read(`${lab.at('root.tar')}:name`)).rejects.toMatchObject(refusal('IMAGE_SOURCE_UNKNOWN'));
  });

  it('with an ext4 disk is copied, packed or not', async () => {
    await execa('mkfs.ext4', ['-q', '-F', lab.at('disk'), '8M']);
    await execa('zstd', ['-q', '-k', lab.at('disk')]);
    for (const path of [lab.at('disk'), lab.at('disk.zst')]) {
      const { opened } = await lab.read(path);
      const copy = 'disk' in opened ? opened.disk : '';
      expect((await readFile(copy)).equals(await readFile(lab.at('disk')))).toBe(true);
    }
  });
});
