import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Capacity } from '@offshoot/shared/errors.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freeBytes } from '../os/disk-space.js';
import { CapturePaths, StatePaths } from '../paths.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import { assertCloneRoom } from './clone-room.js';
import { DiskStorages } from './disk-storages.js';

describe('the room for a clone', () => {
  let root: string;
  let free: number;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'offshoot-room-'));
    free = await freeBytes(root);
  });
  afterAll(() => rm(root, { recursive: true }));

  const assertRoom = async (driver: 'qemu' | 'firecracker', copied: number, needsLayer: boolean, more = 0) => {
    const storage = {
      name: 'sparse',
      roomForClone: () => Promise.resolve(copied),
      needsLayer: () => Promise.resolve(needsLayer),
    } as Partial<DiskStorage> as DiskStorage;
    const context = { disks: new DiskStorages([storage]), paths: new StatePaths(root) };
    const owner = { name: 'vm', storage: 'sparse', driver } as const;
    await assertCloneRoom(context, owner, new CapturePaths(root), 'this clone', more);
  };

  it('is what would be copied of the disk, and what comes beside it', async () => {
    await assertRoom('firecracker', 0, false);
    await expect(assertRoom('firecracker', 2 * free, false)).rejects.toThrow(/this clone needs \d+ MiB free/);
    await expect(assertRoom('firecracker', 2 * free, false)).rejects.toBeInstanceOf(Capacity);
    await expect(assertRoom('firecracker', 0, false, 2 * free)).rejects.toBeInstanceOf(Capacity);
  });

  it('has nothing of what becomes a layer before it is cloned, by a hypervisor that can', async () => {
    await assertRoom('qemu', 2 * free, true);
    await expect(assertRoom('qemu', 2 * free, false)).rejects.toBeInstanceOf(Capacity);
    await expect(assertRoom('firecracker', 2 * free, true)).rejects.toBeInstanceOf(Capacity);
  });
});
