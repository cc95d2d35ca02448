import { describe, expect, it } from 'vitest';
import { firecrackerRegions } from './memory-layout.js';

const GIB = 1024 ** 3;

describe('RAM of a Firecracker VM', () => {
  it.each([
    [0.125, [[0, 0.125, 0]]],
    [3, [[0, 3, 0]]],
    [
      3.5,
      [
        [0, 3, 0],
        [4, 0.5, 3],
      ],
    ],
    [
      300,
      [
        [0, 3, 0],
        [4, 252, 3],
        [512, 45, 255],
      ],
    ],
  ])('of %d GiB lies around the holes for devices', (memory, regions) => {
    expect(firecrackerRegions(memory * GIB)).toEqual(
      regions.map(([gpa, size, offset]) => ({ gpa: gpa! * GIB, size: size! * GIB, fileOffset: offset! * GIB })),
    );
  });
});
