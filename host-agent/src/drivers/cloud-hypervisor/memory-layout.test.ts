import { describe, expect, it } from 'vitest';
import { cloudHypervisorRegions } from './memory-layout.js';

const GIB = 1024 ** 3;

describe("Cloud Hypervisor's memory layout", () => {
  it('is one piece up to 3 GiB', () => {
    expect(cloudHypervisorRegions(3 * GIB)).toEqual([{ gpa: 0, size: 3 * GIB, fileOffset: 0 }]);
  });

  it('has the rest above 4 GiB', () => {
    expect(cloudHypervisorRegions(5 * GIB)).toEqual([
      { gpa: 0, size: 3 * GIB, fileOffset: 0 },
      { gpa: 4 * GIB, size: 2 * GIB, fileOffset: 3 * GIB },
    ]);
  });
});
