import { InvalidState } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import type { StorageName } from '../domain/storage-name.js';
import { CapturePaths } from '../paths.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import { DiskStorages } from './disk-storages.js';

const storage = (name: StorageName): DiskStorage => ({ name }) as DiskStorage;

const qemu = { name: 'qemu', diskFormats: ['qcow2', 'raw'] } as const;
const firecracker = { name: 'firecracker', diskFormats: ['raw'] } as const;

describe('the disk storages of a host', () => {
  const [overlay, reflink, sparse] = [storage('overlay'), storage('reflink'), storage('sparse')];
  const withReflinks = new DiskStorages([overlay, reflink, sparse]);
  const without = new DiskStorages([overlay, sparse], new Map([['reflink', '/state is on ext4, without reflinks']]));

  it('give a new disk to the best one with the format its hypervisor reads', () => {
    expect(withReflinks.choose(qemu)).toBe('overlay');
    expect(withReflinks.choose(firecracker)).toBe('reflink');
    expect(without.choose(firecracker)).toBe('sparse');
  });

  it('give a new disk to the pool where there is one, whatever else there is', () => {
    const withPool = new DiskStorages([overlay, reflink, storage('zfs'), sparse]);
    for (const driver of [qemu, firecracker]) expect(withPool.choose(driver)).toBe('zfs');
  });

  it('give every new disk to the one that is wanted for all', () => {
    const wanted = new DiskStorages([overlay, reflink, sparse], new Map(), 'sparse');
    for (const driver of [qemu, firecracker]) expect(wanted.choose(driver)).toBe('sparse');
    const layers = new DiskStorages([overlay, sparse], new Map(), 'overlay');
    expect(layers.choose(qemu)).toBe('overlay');
    expect(() => layers.choose(firecracker)).toThrow(
      'storage.driver is overlay, whose qcow2 disks the driver firecracker does not read: it reads raw',
    );
  });

  it('are none where the one that is wanted for all is missing', () => {
    const missing = new Map([['reflink', '/state is on ext4, without reflinks']] as const);
    expect(() => new DiskStorages([overlay, sparse], missing, 'reflink')).toThrow(
      'storage.driver is reflink, which this host does not have (/state is on ext4, without reflinks)',
    );
  });

  it('are found by what is recorded, not by what would be chosen now', () => {
    expect(withReflinks.of({ name: 'old', storage: 'sparse' })).toBe(sparse);
    withReflinks.assertHere({ name: 'old', storage: 'sparse' });
  });

  it('refuse a disk of a storage that is not here, naming both', () => {
    const moved = { name: 'moved', storage: 'reflink' } as const;
    expect(() => without.of(moved)).toThrow(
      'storage reflink, which this host does not have (/state is on ext4, without reflinks); it has overlay, sparse',
    );
    expect(() => {
      without.assertHere(moved);
    }).toThrow(InvalidState);
  });

  it('remove what lies in the folder where they are missing, too, and refuse to leave a disk behind elsewhere', async () => {
    const folder = new CapturePaths('/i/moved');
    await without.destroy({ name: 'moved', storage: 'reflink' }, folder);
    await expect(without.destroy({ name: 'moved', storage: 'zfs' }, folder)).rejects.toThrow(
      /zfs, .* \(it is unknown\)/,
    );
    expect(await without.usage({ name: 'moved', storage: 'zfs' }, folder)).toEqual({ ownBytes: 0, sharedBytes: 0 });
  });

  it('are asked for what a folder has, and swept all', async () => {
    const asked: string[] = [];
    const zfs = {
      name: 'zfs',
      destroy: ({ root }) => Promise.resolve(void asked.push(`destroy ${root}`)),
      usage: () => Promise.resolve({ ownBytes: 1, sharedBytes: 2 }),
      sweep: (folders) => Promise.resolve(folders.map(({ root }) => `lost of ${root}`)),
    } as Partial<DiskStorage> as DiskStorage;
    const [disks, owner, folder] = [
      new DiskStorages([zfs]),
      { name: 'vm', storage: 'zfs' } as const,
      new CapturePaths('/i/vm'),
    ];
    await disks.destroy(owner, folder);
    expect(asked).toEqual(['destroy /i/vm']);
    expect(await disks.usage(owner, folder)).toEqual({ ownBytes: 1, sharedBytes: 2 });
    expect(await disks.sweep([folder])).toEqual(['lost of /i/vm']);
  });
});
