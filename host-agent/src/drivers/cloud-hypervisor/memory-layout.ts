import type { MemoryRegion } from '../../domain/instance.js';

const GIB = 1024 ** 3;
/** RAM below 4 GiB ends where device memory and the interrupt controllers begin. */
const LOW_LIMIT = 3 * GIB;

/**
 * Where Cloud Hypervisor puts the RAM of one memory zone (arch/src/x86_64/mod.rs, `arch_memory_regions`, and the mappings in
 * the state of its snapshots, 54.0): up to 3 GiB in one piece, the rest above 4 GiB; in the zone's file one behind the other.
 */
export function cloudHypervisorRegions(memoryBytes: number): readonly MemoryRegion[] {
  if (memoryBytes <= LOW_LIMIT) return [{ gpa: 0, size: memoryBytes, fileOffset: 0 }];
  return [
    { gpa: 0, size: LOW_LIMIT, fileOffset: 0 },
    { gpa: 4 * GIB, size: memoryBytes - LOW_LIMIT, fileOffset: LOW_LIMIT },
  ];
}
