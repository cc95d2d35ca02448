import { chmod, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContentDigests } from './content-digests.js';

let folder: string;
let tree: string;
let memory: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-digests-'));
  tree = join(folder, 'tree');
  memory = join(folder, 'cache', 'digests.json');
  await mkdir(join(tree, 'sub'), { recursive: true });
  await writeFile(join(tree, 'a'), 'one');
  await writeFile(join(tree, 'sub', 'b'), 'two');
});
afterEach(() => rm(folder, { recursive: true }));

const digest = async (): Promise<string> => (await ContentDigests.open(memory)).folder(tree);

describe('the digest of a folder', () => {
  it('changes with a name, a content, an executable bit and the target of a link', async () => {
    const seen = new Set([await digest()]);
    await writeFile(join(tree, 'a'), 'ONE');
    seen.add(await digest());
    await chmod(join(tree, 'a'), 0o755);
    seen.add(await digest());
    await symlink('a', join(tree, 'link'));
    seen.add(await digest());
    await rm(join(tree, 'link'));
    await symlink('b', join(tree, 'link'));
    seen.add(await digest());
    await mkdir(join(tree, 'empty'));
    seen.add(await digest());
    expect(seen.size).toBe(6);
  });

  it('does not change with times, and does not follow links', async () => {
    await symlink('..', join(tree, 'sub', 'up'));
    const before = await digest();
    await utimes(join(tree, 'a'), 1, 1);
    expect(await digest()).toBe(before);
  });
});

describe('remembered digests', () => {
  it('notice that a file was replaced by one of the same size and time', async () => {
    const digests = await ContentDigests.open(memory);
    await utimes(join(tree, 'a'), 1, 1);
    const before = await digests.file(join(tree, 'a'));
    await digests.save();
    await rm(join(tree, 'a'));
    await writeFile(join(tree, 'a'), 'TWO');
    await utimes(join(tree, 'a'), 1, 1);
    expect(await (await ContentDigests.open(memory)).file(join(tree, 'a'))).not.toBe(before);
  });

  it('are forgotten, not trusted, when their file is damaged', async () => {
    const digests = await ContentDigests.open(memory);
    const before = await digests.file(join(tree, 'a'));
    await digests.save();
    await writeFile(memory, '{"cut');
    expect(await (await ContentDigests.open(memory)).file(join(tree, 'a'))).toBe(before);
  });
});
