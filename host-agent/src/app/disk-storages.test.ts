import { InvalidState } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import type { StorageName } from '../domain/storage-name.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import { DiskStorages } from './disk-storages.js';

const storage = (name: StorageName): DiskStorage => ({ name }) as DiskStorage;

describe('the disk storages of a host', () => {
  const [overlay, reflink, sparse] = [storage('overlay'), storage('reflink'), storage('sparse')];
  const withReflinks = new DiskStorages([overlay, reflink, sparse]);
  const without = new DiskStorages([overlay, sparse]);

  it('give a new disk to the best one with the format its hypervisor reads', () => {
    expect(withReflinks.choose('qcow2')).toBe('overlay');
    expect(withReflinks.choose('raw')).toBe('reflink');
    expect(without.choose('raw')).toBe('sparse');
  });

  it('are found by what is recorded, not by what would be chosen now', () => {
    expect(withReflinks.of({ name: 'old', storage: 'sparse' })).toBe(sparse);
    withReflinks.assertHere({ name: 'old', storage: 'sparse' });
  });

  it('refuse a disk of a storage that is not here, naming both', () => {
    const moved = { name: 'moved', storage: 'reflink' } as const;
    expect(() => without.of(moved)).toThrow(
      /the disk of moved is kept by the storage reflink, which this host does not have: it has overlay, sparse/,
    );
    expect(() => {
      without.assertHere(moved);
    }).toThrow(InvalidState);
  });
});
