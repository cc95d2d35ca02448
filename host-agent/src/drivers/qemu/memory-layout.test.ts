import { describe, expect, it } from 'vitest';
import { q35Regions } from './memory-layout.js';

const MIB = 1024 * 1024;

describe('RAM of q35', () => {
  it('is in one piece below 2816 MiB', () => {
    expect(q35Regions(2815 * MIB)).toEqual([{ gpa: 0, size: 2815 * MIB, fileOffset: 0 }]);
  });

  it('is split at 2 GiB from there on, the rest above 4 GiB', () => {
    expect(q35Regions(2816 * MIB)).toEqual([
      { gpa: 0, size: 2048 * MIB, fileOffset: 0 },
      { gpa: 4096 * MIB, size: 768 * MIB, fileOffset: 2048 * MIB },
    ]);
  });
});
