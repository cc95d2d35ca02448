import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeOn } from '../os/testing/describe-on.js';
import { openStorages } from './open-storages.js';

const namesIn = async (directory: string): Promise<string[]> =>
  (await openStorages(directory)).here.map(({ name }) => name);

describe('the storages of a state directory', () => {
  describe.each([
    ['xfs', ['overlay', 'reflink', 'sparse']],
    ['btrfs', ['overlay', 'reflink', 'sparse']],
    ['ext4', ['overlay', 'sparse']],
    ['tmpfs', ['overlay', 'sparse']],
  ] as const)('on %s', (type, names) => {
    describeOn('are found by trying', [type], (mounted) => {
      it(`to be ${names.join(', ')}, without a trace`, async () => {
        const { path } = mounted();
        const before = await readdir(path);
        expect(await namesIn(path)).toEqual(names);
        expect(await readdir(path)).toEqual(before);
        const { missing } = await openStorages(path);
        expect(missing.get('reflink') ?? 'reflink').toMatch(/^reflink$|is on \S+, without reflinks$/);
      });
    });
  });

  it('cannot be found out where the directory is missing', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'storages-'));
    await rm(directory, { recursive: true });
    await expect(namesIn(directory)).rejects.toThrow('ENOENT');
  });
});
