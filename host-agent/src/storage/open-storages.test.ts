import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeOn } from '../os/testing/describe-on.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import { openStorages } from './open-storages.js';

const noPool = (): Promise<never> => Promise.reject(new Error('no pool'));
const namesIn = async (directory: string): Promise<string[]> =>
  (await openStorages(directory, '', noPool)).here.map(({ name }) => name);

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
        const { missing } = await openStorages(path, '', noPool);
        expect(missing.get('reflink') ?? 'reflink').toMatch(/^reflink$|is on \S+, without reflinks$/);
      });
    });
  });

  it('begin with the pool that was named, and are none where that cannot be had', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'storages-'));
    const zfs = { name: 'zfs' } as Partial<DiskStorage> as DiskStorage;
    const { here, missing } = await openStorages(directory, 'tank/offshoot', () => Promise.resolve(zfs));
    expect(here[0]).toBe(zfs);
    expect(missing.has('zfs')).toBe(false);
    const refused = openStorages(directory, 'tank/offshoot', noPool);
    await expect(refused).rejects.toThrow('no pool');
    await rm(directory, { recursive: true });
  });

  it('cannot be found out where the directory is missing', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'storages-'));
    await rm(directory, { recursive: true });
    await expect(namesIn(directory)).rejects.toThrow('ENOENT');
  });
});
