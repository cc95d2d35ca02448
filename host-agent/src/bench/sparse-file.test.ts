import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeSparseFile } from './sparse-file.js';

const KIB = 1024;

describe('a sparse file', () => {
  it('is data and hole in turn', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-sparse-'));
    try {
      const path = join(directory, 'half');
      await makeSparseFile(path, 640 * KIB, 128 * KIB);
      const bytes = await readFile(path);
      const isData = [0, 1, 2, 3, 4].map((i) =>
        bytes.subarray(i * 128 * KIB, (i + 1) * 128 * KIB).some((b) => b !== 0),
      );
      expect([bytes.length, isData]).toEqual([640 * KIB, [true, false, true, false, true]]);
      expect((await stat(path)).blocks * 512).toBeLessThan(640 * KIB);
      const hole = join(directory, 'hole');
      await makeSparseFile(hole, 640 * KIB, 0);
      expect((await readFile(hole)).every((byte) => byte === 0)).toBe(true);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
