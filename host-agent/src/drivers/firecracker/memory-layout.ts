import type { MemoryRegion } from '../../domain/instance.js';

const GIB = 1024 ** 3;

/** Addresses without RAM, where devices are. */
const HOLES = [
  { start: 3 * GIB, end: 4 * GIB },
  { start: 256 * GIB, end: 512 * GIB },
] as const;

/**
 * Where Firecracker has a guest's RAM on x86-64: from 0 on, around the two holes for devices, one after the other in the
 * memory file (`arch_memory_regions` and the MMIO constants of its arch/x86_64, read at 1.17).
 */
export function firecrackerRegions(memoryBytes: number): readonly MemoryRegion[] {
  const regions: MemoryRegion[] = [];
  let gpa = 0;
  let fileOffset = 0;
  for (const { start, end } of HOLES) {
    const size = Math.min(memoryBytes - fileOffset, start - gpa);
    if (size === 0) return regions;
    regions.push({ gpa, size, fileOffset });
    gpa = end;
    fileOffset += size;
  }
  if (fileOffset < memoryBytes) regions.push({ gpa, size: memoryBytes - fileOffset, fileOffset });
  return regions;
}
