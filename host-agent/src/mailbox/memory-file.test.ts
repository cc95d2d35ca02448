import { truncate, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { FileStamp } from '../domain/instance.js';
import { checkStamp } from './memory-file.js';
import { MemoryFile } from './test-memory.js';

const REGIONS = [{ gpa: 0, size: 8192, fileOffset: 0 }];

describe('the stamp of a memory file', () => {
  it('is right as long as nobody touched the file', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    await expect(checkStamp(memory.path, await memory.stamp())).resolves.toBeUndefined();
  });

  it.each<[string, Partial<FileStamp>]>([
    ['size', { size: 4096 }],
    ['time of change', { mtimeNs: '1' }],
    ['inode', { inode: '1' }],
  ])('is wrong when only the %s is another', async (_what, change) => {
    await using memory = await MemoryFile.create(REGIONS);
    const stamp = { ...(await memory.stamp()), ...change };
    await expect(checkStamp(memory.path, stamp)).rejects.toMatchObject({ reason: 'MEMORY_FILE_CHANGED' });
  });

  it('is wrong once the file was cut short, though its time was set back', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    await utimes(memory.path, 1000, 1000);
    const stamp = await memory.stamp();
    await truncate(memory.path, 4096);
    await utimes(memory.path, 1000, 1000);
    await expect(checkStamp(memory.path, stamp)).rejects.toMatchObject({ reason: 'MEMORY_FILE_CHANGED' });
  });

  it('says that a file is gone only when it is', async () => {
    await using memory = await MemoryFile.create(REGIONS);
    const stamp = await memory.stamp();
    await expect(checkStamp(join(memory.root, 'absent'), stamp)).rejects.toMatchObject({
      reason: 'MEMORY_FILE_MISSING',
    });
    await expect(checkStamp(join(memory.path, 'below-a-file'), stamp)).rejects.toMatchObject({ code: 'ENOTDIR' });
  });
});
