import { Unreachable } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { swappedBytes } from './swapped-memory.js';

describe('swapped-out memory of a process', () => {
  it('is told in bytes', async () => {
    const bytes = await swappedBytes(process.pid);
    expect(bytes % 1024).toBe(0);
    expect(bytes).toBeGreaterThanOrEqual(0);
  });

  it('is not to be had of one that is gone', async () => {
    await expect(swappedBytes(2 ** 30)).rejects.toThrow(Unreachable);
  });
});
